"""``deepfake-ms explain``: contact sheets of faces; what trained detectors attend to and rely on."""

from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.assembly import find_faces
from deepfake_ms.cli import entry_point
from deepfake_ms.composition import load_choice
from deepfake_ms.data.augmentation import build_augmentation, ordered
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.perturbation import Perturbation
from deepfake_ms.errors import UserError
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.contact_sheet import contact_sheet, perturbation_sheet
from deepfake_ms.explanation.panels import write_image
from deepfake_ms.files import limit_name

SHEETS = ("masks", "augmentations")
OF_RUNS = (*METHODS, "stages", "reliance")
LONGEST_NAME = 100
"""Bytes of the types' names in the name of a picture."""
NEEDED = ("pytorch_grad_cam", "captum", "jinja2", "sklearn")


@entry_point("explain")
def main(cfg: DictConfig) -> None:
    explain(cfg)


def explain(cfg: DictConfig) -> None:
    """Carry out ``cfg.what`` of ``conf/explain.yaml``.

    Raises:
        UserError: a setting is unknown or does not fit.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if cfg.what in SHEETS:
        _draw_sheet(cfg, console)
    elif cfg.what == "perturbations":
        _draw_perturbations(cfg, console)
    elif cfg.what in OF_RUNS:
        if missing := [name for name in NEEDED if not find_spec(name)]:
            raise UserError(f"{missing[0]} is not installed: run `pip install -e '.[explain]'`.")
        from deepfake_ms.explanation.runs import explain_runs, measure_reliance

        if (cfg.run is None) == (not cfg.runs):
            raise UserError(f"what={cfg.what} explains finished runs: give run=FOLDER or runs=[FOLDER,...].")
        folders = [Path(str(folder)) for folder in (cfg.runs if cfg.run is None else [cfg.run])]
        settings = OmegaConf.to_container(cfg, resolve=True)
        (measure_reliance if cfg.what == "reliance" else explain_runs)(folders, settings, console)
    else:
        raise UserError(f"what={cfg.what} is unknown; choose from {', '.join((*SHEETS, 'perturbations', *OF_RUNS))}.")


def _draw_sheet(cfg: DictConfig, console: Console) -> None:
    faces = find_faces(cfg)
    if cfg.what == "masks":
        name, change = cfg.mask.name, {"mask": FaceMask.from_settings(OmegaConf.to_container(cfg.mask))}
        described = f"with the mask {name}"
    else:
        name = cfg.augmentation.name
        if cfg.augmentation.get("facial_swap"):
            raise UserError(f"augmentation={name} swaps pairs of faces, which a contact sheet does not show.")
        change = {"augmentation": build_augmentation(ordered(OmegaConf.to_container(cfg.augmentation)))}
        described = f"with the augmentation {name}"
    sheet = contact_sheet(faces, cfg.count, cfg.seed, **change)
    path = Path(cfg.output) / f"{faces.folder.name}_{name}.png"
    write_image(path, sheet)
    console.print(f"{min(cfg.count, len(faces.manifest))} faces, as cropped and {described}: {path}")


def _draw_perturbations(cfg: DictConfig, console: Console) -> None:
    types = []
    for name in cfg.perturbations:
        settings = OmegaConf.to_container(load_choice("perturbation", name, "perturbations"))
        levels = range(1, len(settings["levels"]) + 1)
        types.append([Perturbation.from_settings(settings | {"level": level}) for level in levels])
    if not types or not all(types):
        raise UserError(f"perturbations={cfg.perturbations}: give types, such as perturbations=[jpeg,h264].")
    faces = find_faces(cfg)
    names = limit_name("_".join(cfg.perturbations), LONGEST_NAME)
    path = Path(cfg.output) / f"{faces.folder.name}_{names}.png"
    write_image(path, perturbation_sheet(faces, cfg.count, cfg.seed, types))
    shown = ", ".join(cfg.perturbations)
    console.print(f"{min(cfg.count, len(faces.manifest))} faces, as cropped and at every level of {shown}: {path}")


if __name__ == "__main__":
    main()
