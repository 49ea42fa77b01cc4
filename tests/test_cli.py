"""The entry points as a Hydra user meets them."""

import hydra
import pytest
from hydra.errors import HydraException

from deepfake_ms.assembly import (
    build_curriculum,
    build_preparation,
    build_split_policy,
    build_trainer_settings,
    deciding_config,
)
from deepfake_ms.cli import CONFIG_FOLDER
from deepfake_ms.data.augmentation import build_augmentation
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.errors import UserError
from deepfake_ms.training.run_folder import config_hash

GROUPS = (
    "data",
    "split",
    "size",
    "model",
    "augmentation",
    "loss",
    "curriculum",
    "optimization",
    "trainer",
    "logger",
    "experiment",
)
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONFIG_FOLDER / group).glob("*.yaml"))]
FULL_SIZE_ONLY = ("table1_linear_probe", "table1_senet154")


def compose(*overrides: str, name: str = "train"):
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return hydra.compose(name, overrides=list(overrides))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_makes_valid_settings(group, choice):
    size = ("size=full",) if choice in FULL_SIZE_ONLY else ()
    cfg = compose(f"{group}={choice}", "data.root=somewhere", *size)
    build_preparation(cfg)
    build_curriculum(cfg)
    build_split_policy(cfg)
    build_trainer_settings(cfg.trainer)
    build_augmentation(cfg.augmentation.name)
    EyeMask(**cfg.eye_mask)
    assert cfg.name in cfg.run_folder


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_says_what_it_is(group, choice):
    assert (CONFIG_FOLDER / group / f"{choice}.yaml").read_text().startswith("# ")


def test_the_best_row_is_what_the_paper_says():
    cfg = compose("experiment=table2_wl_rf_mep", "model=genconvit_ed")
    assert cfg.loss.class_weights == {"real": 1.0, "fake": 1.85}
    assert cfg.augmentation.name == "random_flips"
    stages = build_curriculum(cfg).stages
    assert [(stage.faces, stage.epochs) for stage in stages] == [
        ("masked_eyes", 20),
        ("cropped", 15),
        ("masked_eyes", 15),
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
    left_out_by_the_paper = {"rf", "wl_rf", "rf_mep", "rst_as_released"}
    assert {row.removeprefix("table2_") for row in ROWS} == PUBLISHED.keys() | left_out_by_the_paper


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_what_its_name_says(row):
    cfg = compose(f"experiment={row}")
    factors = row.removeprefix("table2_").split("_")
    assert cfg.name == row
    assert cfg.loss.class_weights == {"real": 1.0, "fake": 1.85 if "wl" in factors else 1.0}
    assert cfg.augmentation.name == {"na": "none", "rf": "random_flips"}.get(
        next((factor for factor in factors if factor in ("na", "rf")), None), "standard"
    )
    assert [stage.faces for stage in build_curriculum(cfg).stages] == (
        ["masked_eyes", "cropped", "masked_eyes"] if "mep" in factors else ["cropped"]
    )
    assert cfg.model.swin == ("as_released" if "released" in factors else "removed" if "rst" in factors else "live")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_opens_with_its_command_and_the_published_numbers(row):
    opening = (CONFIG_FOLDER / "experiment" / f"{row}.yaml").read_text().split("defaults:")[0]
    assert f"python -m deepfake_ms.train experiment={row}\n" in opening
    numbers = PUBLISHED.get(row.removeprefix("table2_"))
    published = "accuracy {}, macro F1 {}, AUROC {}.".format(*numbers) if numbers else "Published: nothing."
    assert published in opening


def test_size_and_family_make_the_model_and_nothing_else():
    for family in ("genconvit_ed", "recce"):
        experiment = {"genconvit_ed": "table1_ours", "recce": "table1_recce"}[family]
        for size, name in (("small", f"{family}_small"), ("full", family)):
            by_size = compose(f"experiment={experiment}", f"size={size}")
            assert by_size.model.name == name
            other = {"small": "full", "full": "small"}[size]
            by_name = compose(f"experiment={experiment}", f"model={name}", f"size={other}")
            assert deciding_config(by_size, "abc") == deciding_config(by_name, "abc")
            assert by_size.run_folder == by_name.run_folder
            assert "size" not in by_size
            assert "family" not in by_size


@pytest.mark.parametrize("row", FULL_SIZE_ONLY)
def test_a_row_without_a_small_variant_is_refused_in_small(row):
    with pytest.raises(HydraException, match=f"Could not find 'model/{row.removeprefix('table1_')}_small'"):
        compose(f"experiment={row}")


def test_the_loss_weight_is_swept_around_the_papers():
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        cfg = hydra.compose("train", overrides=["experiment=loss_weight"], return_hydra_config=True)
    weights = cfg.hydra.sweeper.params["loss.class_weights.fake"].split(",")
    assert {1.0, 1.85} <= set(map(float, weights))
    assert (
        compose("experiment=loss_weight", f"loss.class_weights.fake={weights[1]}").name == f"loss_weight_{weights[1]}"
    )


def test_what_decides_about_numbers_is_hashed_and_nothing_else():
    base = config_hash(deciding_config(compose(), "abc"))
    same = ("trainer.devices=2", "runs_root=elsewhere", "logger=wandb", "trainer.num_workers=3", "data.root=moved")
    for override in same:
        assert config_hash(deciding_config(compose(override), "abc")) == base, override
    others = (
        "seed=1",
        "loss=weighted",
        "optimization.epochs=3",
        "split=video",
        "eye_mask.width=1.0",
        "trainer.precision=bf16-mixed",
    )
    hashes = {config_hash(deciding_config(compose(override), "abc")) for override in others}
    assert len(hashes | {base, config_hash(deciding_config(compose(), "def"))}) == len(others) + 2


def test_starting_weights_decide_by_their_content(tmp_path):
    path = tmp_path / "released.pth"
    override = f"model.checkpoint={path}"
    with pytest.raises(UserError, match=r"released\.pth is no file"):
        deciding_config(compose(override), "abc")
    hashes = set()
    for content in (b"first", b"second", b"first"):
        path.write_bytes(content)
        hashes.add(config_hash(deciding_config(compose(override), "abc")))
    assert len(hashes) == 2


def test_help_and_job_config(call, tmp_path):
    status, shown, _ = call("train", "--help")
    assert status == 0
    assert "experiment: loss_weight, table1_bit, table1_caddm" in " ".join(shown.split())
    assert "size: full, small" in " ".join(shown.split())
    status, shown, _ = call("train", "--cfg", "job", "loss=weighted", "augmentation=none", "model=genconvit_ed")
    assert status == 0
    assert "fake: 1.85" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("optimization.epoch=3",), "no key 'optimization.epoch'; the nearest is 'optimization.epochs'"),
        (("los=weighted", "seed=3"), "no key 'los'; the nearest is 'loss'"),
        (("loss=wieghted",), "weighted_as_released"),
    ],
)
def test_a_typo_is_an_error_that_names_the_nearest_key(call, overrides, named):
    status, _, errors = call("train", *overrides)
    assert status == 1
    assert named in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("prepare", "data=folder"), "data.root is not set"),
        (("prepare", "data=folder", "data.root=nowhere"), "nowhere does not exist"),
        (("train", "data=folder", "data.root=nowhere"), "run `python -m deepfake_ms.prepare"),
        (("evaluate", "run=nowhere"), "run.json is missing"),
        (("evaluate",), "run is not set"),
        (("explain", "what=nonsense"), "choose masks"),
    ],
)
def test_mistakes_come_back_as_one_sentence(call, arguments, sentence):
    status, _, errors = call(*arguments)
    assert status == 2
    assert errors.startswith("error: ")
    assert sentence in errors
    assert "Traceback" not in errors


def test_one_device_cannot_be_two():
    with pytest.raises(UserError, match=r"trainer\.strategy=ddp"):
        build_trainer_settings(compose("trainer.devices=2").trainer)
