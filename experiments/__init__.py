"""Programs that reproduce and check the paper with `deepfake_ms`; started in the repository's root, not installed.

python -m experiments.sweep                    plan of a sweep: what is finished and how long the rest may take
python -m experiments.report                   Tables 1 and 2: published and measured numbers side by side
python -m experiments.mechanism                AUROC on drawn fakes with and without an artefact at the eyes
python -m experiments.mechanism.curves         when masking pays: its effect over strength and share of the artefacts
python -m experiments.mechanism.perturbed      the price of training without augmentation, on perturbed test faces
python -m experiments.figure2                  where detectors look and what they need, after every stage
python -m experiments.generalisation           detectors on other corpora and on degraded faces
python -m experiments.abstention               when predict abstains, and whether it should
python -m experiments.abstention.few_frames    decisions on the first frames of a video only
python -m experiments.real_samples             cross-validation on a few real faces
python -m experiments.paper_audit              which F1 averaging can explain a published accuracy and F1
python -m experiments.wandb                    the Weights & Biases report of a table's runs
python -m experiments.benchmarks.preparation   speed of face extraction
python -m experiments.benchmarks.preparation_memory
python -m experiments.benchmarks.loading       speed of loading training faces
python -m experiments.benchmarks.training      overhead of the training run
python -m experiments.benchmarks.steps         how much keeping memory and skipping work speeds up a step
python -m experiments.benchmarks.explanation   cost of attributions per face
python -m experiments.benchmarks.evaluation    cost of scoring a run on many test sets
python -m experiments.benchmarks.prediction    cost of predict beside preparation and a forward pass
python -m experiments.benchmarks.exporting     latency of exported detectors: PyTorch, torch.export, ONNX Runtime
python -m experiments.benchmarks.load          seconds and memory of everything that handles all rows of a manifest
python -m experiments.gpu_check                training and scoring on one GPU, in a few minutes
python -m experiments.benchmarks.levers        what makes lite models fast, and what it costs in AUROC
"""
