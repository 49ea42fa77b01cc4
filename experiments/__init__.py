"""Programs that reproduce and check the paper with `deepfake_ms`; started in the repository's root, not installed.

python -m experiments.sweep                    plan of a sweep: what is finished and how long the rest may take
python -m experiments.report                   Tables 1 and 2: published and measured numbers side by side
python -m experiments.mechanism                AUROC on drawn fakes with and without an artefact at the eyes
python -m experiments.paper_audit              which F1 averaging can explain a published accuracy and F1
python -m experiments.wandb                    the Weights & Biases report of a table's runs
python -m experiments.benchmarks.preparation   speed of face extraction
python -m experiments.benchmarks.preparation_memory
python -m experiments.benchmarks.loading       speed of loading training faces
python -m experiments.benchmarks.training      overhead of the training run
"""
