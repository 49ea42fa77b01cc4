"""The commands as a Hydra user meets them."""

import gc
import importlib
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import deepfake_ms
from deepfake_ms.assembly import find_faces, run_config
from deepfake_ms.cli import COMMANDS, main
from deepfake_ms.composition import CONFIG_FOLDER, complete_overrides, compose
from deepfake_ms.provenance import code_version


@pytest.mark.parametrize("name", ["a b", "ü", "corpus (1)", "a=b, it's", "~x"])
def test_any_path_can_be_given_as_it_is(call, name):
    root = f"/data/{name}"
    status, out, _ = call("prepare", "data=celebdf_v2", f"data.root={root}", "--cfg", "job")
    assert (status, OmegaConf.create(out).data.root) == (0, root)


def test_make_passes_on_a_path_with_spaces():
    arguments = ["make", "-n", "reproduce-table2", "DRY_RUN=1", "DATA=celebdf_v2", "ROOT=/data/a b"]
    printed = subprocess.run(arguments, cwd=CONFIG_FOLDER.parent, capture_output=True, text=True, timeout=60).stdout
    assert "data.root=/data/a b" in shlex.split(next(line for line in printed.splitlines() if "sweep" in line))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("evaluate=no", "evaluate=no: write true or false."),
        ("trainer.compile=off", "trainer.compile=off is unknown; choose from false, true, reduce-overhead."),
        ("optimization.epochs=null", "optimization.epochs=None: give a number, such as "),
        ("optimization.batch_size=true", "optimization.batch_size=True: give a number, such as "),
        ("loss.class_weights.fake=high", "loss.class_weights.fake=high: give a number, such as 1"),
        ("loss.class_weights=null", "loss.class_weights=None: loss.class_weights is a table of settings: set "),
        ("optimization.schedule=null", "optimization.schedule is a table of settings"),
        ("curriculum.stages=null", "curriculum.stages=None: give a list"),
        ("split.fractions=0.6", "split.fractions=0.6: give a list, such as [0.6, 0.2, 0.2]."),
        ("runs_root=null", "runs_root=null: set runs_root=..., or leave it out."),
        ("prepared_root=null", "prepared_root=null: set prepared_root=..., or leave it out."),
        ("model=null", "model=null: leave it out, or choose one of bit, caddm, "),
        ("experiment=null", "experiment=null: leave it out, or choose one of leave_out_deepfakes, "),
    ],
)
def test_a_value_of_another_kind_is_refused(call, override, sentence):
    status, _, errors = call("train", override)
    assert status == 2, errors
    assert sentence in errors
    assert "Traceback" not in errors


def test_a_value_that_hydra_cannot_parse_is_quoted():
    assert complete_overrides(["name=größe (2)", "seed=0,1", "experiment=glob(table2_*)"]) == [
        "name='größe (2)'",
        "seed=0,1",
        "experiment=glob(table2_*)",
    ]


def test_a_corpus_may_be_named_by_a_number(monkeypatch):
    monkeypatch.setattr("deepfake_ms.assembly.find_prepared", lambda _, name, *rest: Path(name))
    monkeypatch.setattr("deepfake_ms.assembly.PreparedFaces.read", lambda folder: folder)
    cfg = compose("data=folder", "data.root=somewhere", "data.name=2024")
    assert find_faces(cfg) == Path("2024")  # as prepare names it
    assert run_config(cfg, "abc")["data"]["name"] == "2024"


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna (x)")
    assert complete_overrides(["data.root=~/faces", "prepared_root=~/b", "~optimization.schedule"]) == [
        "data.root='/home/anna (x)/faces'",
        "prepared_root='/home/anna (x)/b'",
        "~optimization.schedule",
    ]


def test_the_version_is_that_of_every_record(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deepfake-ms", "--version"])
    main()
    assert capsys.readouterr().out.strip() == code_version()


def test_help_and_job_config(call, tmp_path):
    status, shown, _ = call("train", "--help")
    assert status == 0
    shown = " ".join(shown.split())
    assert shown.startswith("deepfake-ms train is powered by Hydra")
    assert "experiment: leave_out_deepfakes, leave_out_face2face" in shown
    assert "size: full, lite, small" in shown
    assert "mask: eyes, eyes_and_mouth, face, mouth, nose, random_boxes" in shown
    status, shown, _ = call("train", "--cfg", "job", "loss=weighted", "augmentation=none", "size=full")
    assert status == 0
    assert "fake: 1.85" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("optimization.epoch=3",), "no key 'optimization.epoch'; the nearest is 'optimization.epochs'"),
        (("los=weighted", "seed=3"), "no key 'los'; the nearest is 'loss'"),
        (("loss=wieghted",), "weighted_as_released"),
        (("curriculum.stages.1.augmentation=none",), "the last stage of curriculum=cropped is 0"),
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
        (("train", "data=folder", "data.root=nowhere"), "run `deepfake-ms prepare"),
        (("evaluate", "run=nowhere"), "run.json is missing"),
        (("evaluate",), "run is not set"),
        (("explain", "what=nonsense"), "choose from masks, augmentations, perturbations, gradcam"),
        (("explain", "what=gradcam", "run=nowhere"), "run.json is missing"),
    ],
)
def test_mistakes_come_back_as_one_sentence(call, arguments, sentence):
    status, _, errors = call(*arguments)
    assert status == 2
    assert errors.startswith("error: ")
    assert sentence in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("recipe.epochs=3", "recipe.epochs is an old name: it is now optimization.epochs."),
        ("recipe=released", "recipe is an old name: it is now optimization."),
        ("eye_mask.width=1", "it is now mask.width."),
        ("trainer.devices=2", "it is now trainer.lightning.devices."),
        ("trainer.micro_batches=2", "it is now trainer.lightning.accumulate_grad_batches."),
        ("model=vit_small", "model=vit_small is an old name: it is now model=vit size=small."),
        ("family=vit", "family is an old name: it is now model."),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(call, argument, sentence):
    status, _, errors = call("train", argument)
    assert status == 2
    assert sentence in errors


def test_brackets_in_an_error_are_printed(call, tmp_path):
    status, _, errors = call("prepare", "data=folder", "data.root='no[such]/[/folder]'")
    assert status == 2
    assert "no[such]/[/folder]" in errors


def test_users_add_configurations_of_their_own(call, tmp_path):
    (tmp_path / "my_conf" / "experiment").mkdir(parents=True)
    (tmp_path / "my_conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nseed: 7\n")
    status, shown, errors = call("train", "-cd", "my_conf", "experiment=mine", "--cfg", "job")
    assert status == 0, errors
    assert "seed: 7" in shown


@pytest.fixture(scope="module")
def wheel_environment(tmp_path_factory) -> Path:
    """The bin folder of an environment with the package's wheel; dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    repository = Path(__file__).parents[1]
    source = folder / "source"
    for name in ("deepfake_ms", "conf"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(repository / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", folder, source], check=True, timeout=240, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "dependencies.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")))
    return folder / "venv" / "bin"


def test_an_installed_wheel_works_from_any_folder(wheel_environment, tmp_path):
    where = "from deepfake_ms.composition import CONFIG_FOLDER; print(CONFIG_FOLDER)"

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [wheel_environment / "python", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", where).strip().startswith(str(wheel_environment.parent))
    (site,) = wheel_environment.parent.glob("lib/python*/site-packages")
    package = Path(__file__).parents[1] / "deepfake_ms"
    for template in package.rglob("*.j2"):
        assert (site / "deepfake_ms" / template.relative_to(package)).is_file()
    main = "from deepfake_ms.cli import main; main()"
    assert all(command in run("-c", main) for command in COMMANDS)
    templates = "from importlib.resources import files; print((files('deepfake_ms.{}') / '{}.html.j2').is_file())"
    for package, name in (("explanation", "page"), ("prediction", "report")):
        assert run("-c", templates.format(package, name)).strip() == "True"
    assert "fake: 1.85" in run("-c", main, "train", "experiment=table2_wl", "--cfg", "job")
    assert "name: table2_wl" in run("-m", "deepfake_ms.train", "experiment=table2_wl", "--cfg", "job")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("program", "collecting"), [("-m", False), ("tests", True)])
def test_no_garbage_is_collected_while_a_command_loads_its_modules(program, collecting, monkeypatch, call):
    monkeypatch.setattr(sys, "argv", [program, "rest"])  # -m: Python's own value while it looks up the module
    try:
        importlib.reload(deepfake_ms)
        assert gc.isenabled() == collecting
        call("train", "--cfg", "job")
        assert gc.isenabled()
        assert (gc.get_freeze_count() > 0) == (not collecting)
    finally:
        gc.unfreeze()
        gc.enable()
