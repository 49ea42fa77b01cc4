"""The files in conf/: every choice is valid, and the rows of Table 2 are those of the paper."""

import re
from pathlib import Path

import hydra
import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from deepfake_ms.assembly import run_config, trainer_settings
from deepfake_ms.composition import CONFIG_FOLDER, compose
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.perturbation import Perturbation, preparation_settings
from deepfake_ms.errors import UserError
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run_folder import config_hash
from deepfake_ms.training.run_split import split_policy

GROUPS = (
    *("data", "split", "model", "size", "mask", "augmentation", "loss", "curriculum", "optimization"),
    *("trainer", "logger", "experiment"),
)


CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONFIG_FOLDER / group).glob("*.yaml"))]


PIECEWISE = ("model=caddm", "optimization=caddm")


FULL_SIZE_ONLY = ("linear_probe", "senet154", "table1_linear_probe", "table1_senet154")


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_makes_valid_settings(group, choice):
    size = ("size=full",) if choice in FULL_SIZE_ONLY else ()
    cfg = compose(f"{group}={choice}", "data.root=somewhere", *size)
    preparation_settings(OmegaConf.to_container(cfg.preparation))
    config = run_config(cfg, "abc")
    assert Curriculum.from_record(config) == Curriculum.resolve(OmegaConf.to_container(cfg, resolve=True))
    split_policy(config["split"])
    FaceMask.from_settings(config["mask"])
    if "gpu" not in cfg.trainer.lightning.accelerator:
        trainer_settings(cfg)
    assert cfg.name in cfg.run_folder


@pytest.mark.parametrize("path", sorted((CONFIG_FOLDER / "perturbation").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_perturbation_makes_valid_settings(path):
    cfg = compose(f"perturbation={path.stem}", "run=somewhere", config_name="evaluate")
    chosen = Perturbation.from_settings(OmegaConf.to_container(cfg.perturbation))
    assert cfg.perturbation.name == path.stem
    assert (chosen is None) == (path.stem == "none")
    assert chosen is None or chosen.title == f"{path.stem}_3"


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_says_what_it_is(path):
    assert path.read_text().startswith("# ")


def test_the_best_row_is_as_in_the_paper():
    cfg = compose("experiment=table2_wl_rf_mep", "size=full")
    assert cfg.loss.class_weights == {"real": 1.0, "fake": 1.85}
    assert cfg.augmentation.name == "random_flips"
    stages = run_config(cfg, "abc")["curriculum"]["stages"]
    assert [(stage["name"], stage["epochs"]) for stage in stages] == [
        ("1_masked_eyes", 20),
        ("2_cropped", 15),
        ("3_masked_eyes", 15),
    ]
    assert cfg.optimization.optimizer == {"name": "SGD", "lr": 1e-4, "momentum": 0.9, "weight_decay": 0.05}


ROWS = [path.stem for path in sorted((CONFIG_FOLDER / "experiment").glob("table2_*.yaml"))]


PUBLISHED = {
    "base": (".9333", ".8408", ".9770"),
    "wl": (".9560", ".8854", ".9560"),
    "na": (".9718", ".9229", ".9939"),
    "rst": (".9372", ".8498", ".9824"),
    "mep": (".9646", ".9067", ".9913"),
    "wl_na": (".978", ".9394", ".9939"),
    "wl_na_rst": (".9692", ".9170", ".9922"),
    "wl_na_mep": (".9769", ".9366", ".9947"),
    "na_mep": (".9777", ".9334", ".9899"),
    "wl_rf_mep": (".9836", ".9521", ".9952"),
}


def test_table_2_is_complete():
    left_out_by_the_paper = {"rf", "wl_rf", "rf_mep", "rst_as_released", "random_mask", "mouth_mask"}
    left_out_by_the_paper.add("wl_rf_mep_as_released")
    assert {row.removeprefix("table2_") for row in ROWS} == PUBLISHED.keys() | left_out_by_the_paper


@pytest.mark.parametrize("row", [row for row in ROWS if not row.endswith(("_mask", "mep_as_released"))])
def test_a_row_is_what_its_name_says(row):
    cfg = compose(f"experiment={row}")
    factors = row.removeprefix("table2_").split("_")
    assert cfg.name == row
    assert cfg.loss.class_weights == {"real": 1.0, "fake": 1.85 if "wl" in factors else 1.0}
    assert cfg.augmentation.name == {"na": "none", "rf": "random_flips"}.get(
        next((factor for factor in factors if factor in ("na", "rf")), None), "standard"
    )
    assert [stage["name"] for stage in run_config(cfg, "abc")["curriculum"]["stages"]] == (
        ["1_masked_eyes", "2_cropped", "3_masked_eyes"] if "mep" in factors else ["1_cropped"]
    )
    assert cfg.model.swin == ("as_released" if "released" in factors else "removed" if "rst" in factors else "live")


def test_the_row_as_released_has_every_released_reading_and_nothing_else():
    described, released = (
        run_config(compose(f"experiment=table2_wl_rf_mep{each}"), "abc") for each in ("", "_as_released")
    )
    stages = released["curriculum"]["stages"]
    assert [stage["mask"] and stage["mask"]["missed"] for stage in stages] == [0.27, None, 0.27]
    assert {stage["augmentation"]["name"] for stage in stages} == {"released_rf"}
    assert all(stage["loss"]["class_weights"] == {"real": 1.0, "fake": 1.0} for stage in stages)
    assert [stage["carry"] for stage in stages] == ["best", "best", "last"]
    assert released["model"]["swin"] == "as_released"
    for config in (described, released):
        del config["model"]["swin"], config["mask"]["missed"], config["augmentation"], config["loss"]
        for stage in config["curriculum"]["stages"]:
            del stage["augmentation"], stage["loss"], stage["carry"]
            (stage["mask"] or {}).pop("missed", None)
    assert described == released


def test_citations_follow_the_papers_numbering():
    """Augmentation 2.3, curriculum 2.4, loss 2.5, data 3.1, metrics 3.2, ablation 3.4."""
    repository = Path(__file__).parents[1]
    files = [*CONFIG_FOLDER.rglob("*.yaml"), *(repository / "deepfake_ms").rglob("*.py")]
    cited = {
        (path.name, number)
        for path in files
        for number in re.findall(r"(?:paper|MEP|WL|RF)\b[^.\n]*\(?section (\d\.?\d?)", path.read_text())
    }
    topics = {
        **{"2.3": ("standard.yaml", "random_flips.yaml"), "2.4": ("curriculum.py", "face_masks.py")},
        **{"2.5": ("losses.py", "weighted.yaml"), "3.1": ("paper.yaml",)},
    }
    assert cited == {(name, number) for number, names in topics.items() for name in names}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_opens_with_its_command_and_the_published_numbers(row):
    opening = (CONFIG_FOLDER / "experiment" / f"{row}.yaml").read_text().split("defaults:")[0]
    assert f"deepfake-ms train experiment={row}\n" in opening
    numbers = PUBLISHED.get(row.removeprefix("table2_"))
    published = "accuracy {}, macro F1 {}, AUROC {}.".format(*numbers) if numbers else "Published: nothing."
    assert published in opening


@pytest.mark.parametrize(("row", "mask"), [("random_mask", "random_boxes"), ("mouth_mask", "mouth")])
def test_a_control_row_differs_from_the_best_one_in_the_mask_only(row, mask):
    best, control = (run_config(compose(f"experiment=table2_{each}"), "abc") for each in ("wl_rf_mep", row))
    stages = control["curriculum"]["stages"]
    assert [stage["name"] for stage in stages] == [f"1_masked_{mask}", "2_cropped", f"3_masked_{mask}"]
    for config in (best, control):
        del config["mask"]
        for stage in config["curriculum"]["stages"]:
            del stage["mask"], stage["name"]
    assert best == control


def test_size_chooses_the_model_of_an_experiment():
    for family, experiment in {"genconvit_ed": "table1_ours", "recce": "table1_recce"}.items():
        for size, name in (("small", f"{family}_small"), ("full", family)):
            by_size = compose(f"experiment={experiment}", f"size={size}")
            assert by_size.model.name == name
            assert "size" not in by_size
    assert compose("experiment=table1_recce", "model=vit", "size=full").model.name == "vit"
    assert compose("model=vit", "size=full").optimization.name == "finetune"
    assert compose("model=vit", "size=full", "optimization=genconvit").optimization.name == "genconvit"


@pytest.mark.parametrize("model", ["linear_probe", "senet154"])
def test_a_model_without_a_small_variant_is_refused_in_small(model):
    with pytest.raises(HydraException, match=f"model/{model}/small"):
        compose(f"experiment=table1_{model}")


def test_the_loss_weight_is_swept_around_the_papers():
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        cfg = hydra.compose("train", overrides=["experiment=loss_weight"], return_hydra_config=True)
    weights = cfg.hydra.sweeper.params["loss.class_weights.fake"].split(",")
    assert {1.0, 1.85} <= set(map(float, weights))
    assert (
        compose("experiment=loss_weight", f"loss.class_weights.fake={weights[1]}").name == f"loss_weight_{weights[1]}"
    )


def test_what_determines_results_is_hashed_and_nothing_else():
    base = config_hash(run_config(compose(), "abc"))
    same = (
        "trainer.lightning.accelerator=gpu",
        "trainer.lightning.profiler=simple",
        "trainer.compile=true",
        "trainer.channels_last=true",
        "runs_root=elsewhere",
        "logger=wandb",
        "trainer.num_workers=3",
        "data.root=moved",
    )
    for override in same:
        assert config_hash(run_config(compose(override), "abc")) == base, override
    others = (
        "seed=1",
        "loss=weighted",
        "optimization.epochs=3",
        "split=video",
        "mask.regions.eyes.width=1.0",
        "trainer.lightning.precision=bf16-mixed",
        "trainer.lightning.devices=2",
        "trainer.lightning.devices=[0,1,2]",
        "trainer.lightning.accumulate_grad_batches=4",
        "optimization.gradient_clip.norm=1",
        "trainer.lightning.gradient_clip_val=1",
        "curriculum.stages.0.carry=last",
        "mask.missed=0.27",
        "trainer.matmul_precision=high",
        "augmentation.transforms.HorizontalFlip.p=0.4",
        "curriculum.stages.0.freeze=[backbone.conv1]",
        "curriculum.stages.0.optimization.optimizer.lr=3e-4",
    )
    hashes = {config_hash(run_config(compose(override), "abc")) for override in others}
    assert len(hashes | {base, config_hash(run_config(compose(), "def"))}) == len(others) + 2
    parts = run_config(compose("trainer.lightning.devices=2", "trainer.lightning.num_nodes=2"), "abc")["trainer"]
    assert parts["batch_parts"] == 4


def test_starting_weights_are_identified_by_their_content(tmp_path):
    path = tmp_path / "released.pth"
    override = f"model.checkpoint={path}"
    with pytest.raises(UserError, match=r"released\.pth is not a file"):
        run_config(compose(override), "abc")
    hashes = set()
    for content in (b"first", b"second", b"first"):
        path.write_bytes(content)
        hashes.add(config_hash(run_config(compose(override), "abc")))
    assert len(hashes) == 2


def test_a_stage_overrides_the_run_in_part_or_by_the_name_of_a_choice():
    plain, changed = (
        run_config(compose("curriculum=masked_cropped_masked", *overrides), "abc")["curriculum"]["stages"]
        for overrides in (
            (),
            (
                "curriculum.stages.1.optimization.optimizer.lr=3e-4",
                "curriculum.stages.1.augmentation=none",
                "curriculum.stages.1.loss=weighted",
                "curriculum.stages.2.mask=mouth",
                "curriculum.stages.2.optimization=released",
                "curriculum.stages.2.freeze=backbone.conv1",
            ),
        )
    )
    assert changed[0] == plain[0]
    assert changed[1]["optimizer"] == plain[1]["optimizer"] | {"lr": 3e-4}
    assert changed[1]["schedule"] == plain[1]["schedule"]
    assert changed[1]["augmentation"]["transforms"] == []
    assert changed[1]["loss"]["class_weights"]["fake"] == 1.85
    assert changed[2]["name"] == "3_masked_mouth"
    assert set(changed[2]["mask"]["regions"]) == {"mouth"}
    assert changed[2]["optimizer"] == {"name": "SGD", "lr": 1e-4, "momentum": 0.9, "weight_decay": 0.05}
    assert changed[2]["batch_size"] == 32
    assert changed[2]["epochs"] == plain[2]["epochs"]
    assert changed[2]["freeze"] == ["backbone.conv1"]


def test_what_the_optimization_freezes_is_frozen_in_every_stage_that_names_nothing_else():
    overrides = ("size=lite", "curriculum=masked_cropped_masked", "curriculum.stages.1.freeze=[encoder]")
    config = run_config(compose(*overrides, "curriculum.stages.2.optimization=small"), "abc")
    frozen = [stage["freeze"] for stage in config["curriculum"]["stages"]]
    assert frozen == [config["optimization"]["freeze"], ["encoder"], []]
    assert frozen[0]


def test_a_schedule_or_optimizer_with_a_name_replaces_the_one_of_the_files(call):
    cosine = {"name": "cosine", "warmup_epochs": 3}
    stages = run_config(
        compose(
            "curriculum=masked_cropped_masked",
            "optimization.schedule={name: cosine, warmup_epochs: 3}",
            "optimization.optimizer={name: SGD, lr: 0.1}",
            "curriculum.stages.1.optimization.schedule={name: StepLR, step_size: 2}",
            "curriculum.stages.2.optimization.optimizer.lr=0.2",
        ),
        "abc",
    )["curriculum"]["stages"]
    assert [stage["schedule"] for stage in stages] == [cosine, {"name": "StepLR", "step_size": 2}, cosine]
    assert [stage["optimizer"] for stage in stages] == [{"name": "SGD", "lr": lr} for lr in (0.1, 0.1, 0.2)]
    status, out, _ = call("train", "optimization.schedule={name: cosine, warmup_epochs: 3}", "--cfg", "job")
    assert (status, OmegaConf.create(out).optimization.schedule) == (0, cosine)
    remedy = r"rejects .*'pct_start'.*give all its arguments, e\.g\. 'optimization\.schedule="
    with pytest.raises(UserError, match=remedy):
        run_config(compose("optimization.schedule.name=CosineAnnealingLR"), "abc")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("curriculum.stages.0.augmentation=noise",), r"stages\.0\.augmentation=noise: there is no conf/augmentation"),
        (("curriculum.stages.0.optimization.epochs=3",), "its epochs follow from its share"),
        (("curriculum.stages.0.learning_rate=3",), r"stages\.0\.learning_rate is unknown"),
        (("curriculum.stages.0.faces=masked_eyes",), "now faces: masked, with mask=eyes"),
        (("curriculum.stages.0.mask=eyes",), r"set curriculum\.stages\.0\.faces=masked"),
        (("curriculum.stages.0.share=0.5",), "shares add up to 0.5"),
        (("optimization.mode=best",), r"optimization\.mode=best"),
        (("optimization.monitor=accuracy",), r"monitor=accuracy is unknown; choose from validation/accuracy, "),
        (("optimization.monitor=validation/auroc",), r"worst epoch by .*validation/auroc: set optimization\.mode=max"),
        (("optimization.epochs=2.5",), r"optimization\.epochs=2\.5: give a whole number"),
        (("curriculum.carry=worst",), r"curriculum\.carry=worst is unknown; choose from best, last"),
        (("curriculum.stages.0.carry=worst",), r"carry=worst is unknown"),
        (("optimization.gradient_clip.norm=0",), r"gradient_clip\.norm=0: give a positive number"),
        (("optimization.gradient_clip={norm: 1, value: 2}",), "set one of them to null"),
        (("+optimization.gradient_clip.sum=1",), r"gradient_clip\.sum is unknown"),
        ((*PIECEWISE, "optimization.schedule.milestones=[4,2]"), "give ascending milestones"),
        ((*PIECEWISE, "optimization.schedule.factors=[1,2]"), "one factor more than milestones"),
        (("curriculum=masked_cropped_masked", "mask.missed=27"), r"mask\.missed=27 is not a share of the videos"),
        (("optimization.optimizer.name=Foo",), "neither in torch.optim nor in timm.optim"),
        (("optimization.optimizer.momentun=1",), "AdamW rejects"),
        (("optimization.schedule.name=Foo",), "neither in torch.optim.lr_scheduler nor in timm.scheduler"),
        (("augmentation.transforms.HorizontalFlip.p=2",), "HorizontalFlip rejects"),
        (("augmentation.transforms.HorizontalFlip.q=1",), "HorizontalFlip has no argument q"),
        (("augmentation.transforms.VerticalFlipp.p=1",), "nearest name is VerticalFlip"),
        (("loss.class_weights.fake=0",), "give a positive number"),
        (("curriculum.stages.0=null",), r"curriculum\.stages\.0=None: a stage is a table of settings"),
        (("size=full", "model.checkpoint=true"), r"model\.checkpoint=True is not a file"),
        (("mask.shape=star", "curriculum=masked_cropped_masked"), r"mask\.shape=star is unknown"),
    ],
)
def test_a_wrong_setting_is_refused_before_training(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        run_config(compose(*overrides), "abc")
