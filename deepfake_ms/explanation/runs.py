"""``deepfake-ms explain`` for finished runs: their attributions or stages side by side, and their reliance."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FILLS, FaceMask
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.test_set import OWN
from deepfake_ms.explanation import METHODS
from deepfake_ms.explanation.attribution import CLASS_FREE
from deepfake_ms.explanation.maps import TARGETS, Explained, choose_faces, explain_faces
from deepfake_ms.explanation.page import FacePictures, write_page
from deepfake_ms.explanation.panels import overlay, strip, tile, write_image
from deepfake_ms.explanation.regions import FACE, PARTS
from deepfake_ms.explanation.reliance import occlude
from deepfake_ms.explanation.summary import reliance_table, share_tables, summarise_reliance, summarise_shares
from deepfake_ms.explanation.trained import TrainedStage, predict_faces, require_landmarks
from deepfake_ms.files import write_atomically
from deepfake_ms.provenance import code_version
from deepfake_ms.training.run import Run
from deepfake_ms.training.run_folder import config_hash

SLOW = ("lime",)
"""Methods that explain only the faces to show; the region shares then cover only these."""


def explain_runs(folders: Sequence[Path], settings: Mapping, console: Console) -> Path:
    """Write a page with the attributions of finished runs, or of every stage of one run, side by side.

    Args:
        folders: of the runs; the first one chooses the faces.
        settings: of ``conf/explain.yaml``.
        console: shows progress and the paths.

    Returns:
        The folder of ``page.html``, ``shares.csv`` and, for the sample ids in `settings`, ``faces/*.png``.

    Raises:
        UserError: a run is not finished, the runs have different faces, or a setting does not fit.
    """
    by_stages = settings["what"] == "stages"
    method = settings["method"] if by_stages else settings["what"]
    if by_stages and len(folders) > 1:
        raise UserError("what=stages shows the stages of one run: give run=FOLDER.")
    _check(settings, method)
    runs, device = _open(folders, settings), settings["device"]
    stages = {
        f"{name}, {stage.name}" if by_stages else name: stage
        for name, run in runs.items()
        for stage in (TrainedStage.all_of(run, device) if by_stages else [TrainedStage.last_of(run, device)])
    }
    first = next(iter(stages.values()))
    rows = _rows(first.run, settings["test_set"])
    shown = _shown(first, rows, settings)
    of = shown if method in SLOW else rows
    masks = _masks(settings)
    explained = {}
    with Progress(console=console, transient=True) as progress:
        for name, stage in stages.items():
            task = progress.add_task(name, total=len(of))
            explained[name] = explain_faces(
                stage,
                of,
                method,
                masks,
                settings["target"],
                shown,
                lambda count, task=task: progress.advance(task, count),
            )
    shares = summarise_shares({name: {0: each.shares} for name, each in explained.items()})
    folder = _folder(first.run, settings)
    write_atomically(folder / "shares.csv", shares.drop(columns=["sd", "seeds_agreeing"]).to_csv(index=False))
    faces = _pictures(list(runs.values()), settings, stages, explained, shown)
    title = METHODS[method]
    explains = title if method in CLASS_FREE else f"{title} of the {settings['target']} class"
    sentences = [
        f"{explains} on {len(of)} unmasked faces of the {settings['test_set']} set. "
        "The shares of the regions add up to 1. Density is the share divided by the region's share of the crop: 1 if "
        "attribution is spread evenly. Intervals are 95 %, over videos. Differences are paired by face. Faces whose "
        "map is empty, because nothing speaks for the class, do not count.",
        "An attribution map shows where a gradient or a perturbation is large, not what the decision needs: for that, "
        "see what=reliance.",
    ]
    if method in SLOW:
        sentences.append(
            f"{title} is slow, so the shares cover only the faces shown; wrong decisions are over-represented in them."
        )
    if len(stages) > 1 and settings["target"] == "predicted" and method not in CLASS_FREE:
        sentences.append(
            "Where two detectors disagree, maps of different classes are compared; target=fake avoids this."
        )
    if any(each.reconstructions for each in explained.values()):
        sentences.append(
            "A reconstruction resembles the face only if the model was trained to reconstruct it; GenConViT-ED, by "
            "default, is trained by the classification loss alone."
        )
    sentences.append(_protocol(first.run))
    heading = f"Where {'each stage of ' if by_stages else ''}{' and '.join(runs)} look{'s' if len(runs) == 1 else ''}"
    write_page(folder / "page.html", heading, first.run.record["synthetic"], sentences, share_tables(shares), faces)
    strips = {face.name: strip(face.tiles, _strip_title(face)) for face in faces}
    if settings["faces"]:
        for name, pixels in strips.items():
            write_image(folder / "faces" / f"{_file_name(name)}.png", pixels)
    if settings["logger"]["wandb"]:
        from deepfake_ms.training.wandb_summary import log_summary  # takes half a second to import

        means = _means(shares[shares["minus"] == ""], ("detector", "view", "region", "measure"))
        log_summary(folder, settings["logger"], first.run, "explain", heading, means, strips)
    shown_faces = "1 face" if len(faces) == 1 else f"{len(faces)} faces"
    console.print(f"{shown_faces}, and region shares over {len(of)} faces: {folder / 'page.html'}")
    return folder


def measure_reliance(folders: Sequence[Path], settings: Mapping, console: Console) -> Path:
    """Write a page with what finished runs lose when a region is covered; arguments and errors as in `explain_runs`."""
    runs = _open(folders, settings)
    first = next(iter(runs.values()))
    rows = _rows(first, settings["test_set"])
    masks = {name: mask for name, mask in _masks(settings).items() if name != FACE}
    require_landmarks(first.faces, rows)
    tables, lines = [], []
    with Progress(console=console, transient=True) as progress:
        for name, run in runs.items():
            stage = TrainedStage.last_of(run, settings["device"])
            task = progress.add_task(name, total=1 + 2 * len(masks) * len(FILLS))
            predictions = {}
            for region, place, fill, table in occlude(stage, rows, masks, seed=settings["seed"]):
                predictions[region, place, fill] = table
                progress.advance(task)
            summary = summarise_reliance({run.seed: predictions})
            tables.append(reliance_table(name, summary))
            lines.append(summary.assign(run=name))
    folder = _folder(first, settings)
    write_atomically(folder / "reliance.csv", pd.concat(lines).to_csv(index=False))
    sentences = [
        f"AUROC per face, and P(fake) of the fakes, on {len(rows)} faces of the {settings['test_set']} set when a "
        "region is covered, minus the same faces unchanged; 95 % intervals over videos. The control is as many boxes "
        "of the same size at random places, because any occlusion is unlike the training faces. A detector needs a "
        "region if the interval of what is due to the region lies below zero.",
        _protocol(first),
    ]
    heading = f"What {' and '.join(runs)} need{'s' if len(runs) == 1 else ''}"
    write_page(folder / "page.html", heading, first.record["synthetic"], sentences, tables)
    if settings["logger"]["wandb"]:
        from deepfake_ms.training.wandb_summary import log_summary  # takes half a second to import

        means = _means(pd.concat(lines), ("run", "measure", "region", "fill", "comparison"))
        log_summary(folder, settings["logger"], first, "explain", heading, means)
    console.print(f"Reliance on {', '.join(masks)}: {folder / 'page.html'}")
    return folder


def _means(lines: pd.DataFrame, keys: Sequence[str]) -> dict[str, float]:
    """Mean of every line under the values of its keys, such as ``base seed 0/image/eyes/share``."""
    return {"/".join(filter(None, line[list(keys)])): line["mean"] for _, line in lines.iterrows()}


def _check(settings: Mapping, method: str) -> None:
    """Refuse unknown settings before anything is computed."""
    for name, value, known in (("method", method, METHODS), ("target", settings["target"], TARGETS)):
        if value not in known:
            raise UserError(f"{name}={value} is unknown; choose from {', '.join(known)}.")


def _folder(run: Run, settings: Mapping) -> Path:
    """Folder of the results, which differs between requests."""
    row = run.folder.resolve().parent.name
    about = f"{settings['what']}_{run.config['data']['name']}_{run.config['model']['name']}_{row}_seed_{run.seed}"
    return Path(settings["output"]) / f"{about}_{config_hash(dict(settings))[:8]}"


def _open(folders: Sequence[Path], settings: Mapping) -> dict[str, Run]:
    """Short name → run; all with the same faces and the same split."""
    prepared = Path(settings["prepared"]) if settings["prepared"] else None
    opened = [Run.open(folder, prepared, Path(settings["prepared_root"])) for folder in folders]
    for run in opened[1:]:
        if run.record["manifest_sha256"] != opened[0].record["manifest_sha256"] or not run.split["subset"].equals(
            opened[0].split["subset"]
        ):
            raise UserError(
                f"{run.folder} and {opened[0].folder} have different faces or splits: explain runs of one split "
                "together."
            )
    short = [f"{run.folder.parent.name} seed {run.seed}" for run in opened]
    if len(set(short)) < len(short):
        short = [str(run.folder) for run in opened]
    return dict(zip(short, opened, strict=True))


def _rows(run: Run, test_set: str) -> np.ndarray:
    if test_set not in OWN:
        raise UserError(f"test_set={test_set} is unknown; choose from {', '.join(OWN)}.")
    return run.rows(test_set)


def _masks(settings: Mapping) -> dict[str, FaceMask]:
    return {name: FaceMask.from_settings(settings["regions"][name]) for name in (*PARTS, FACE)}


def _shown(stage: TrainedStage, rows: np.ndarray, settings: Mapping) -> np.ndarray:
    """The rows of the faces to show: those named in the settings, or a choice."""
    if settings["count"] < 1:
        raise UserError(f"count={settings['count']}: ask for at least one face.")
    wanted = [str(name) for name in settings["faces"]]
    if not wanted:
        return choose_faces(
            predict_faces(stage.detector, stage.run.faces, rows), rows, settings["count"], settings["seed"]
        )
    known = dict(zip(stage.run.faces.manifest["sample_id"].iloc[rows], rows, strict=True))
    if unknown := [name for name in wanted if name not in known]:
        raise UserError(
            f"faces: {unknown[0]} is not in the {settings['test_set']} set of {stage.run.folder}, "
            f"which has, for example, {next(iter(known))}."
        )
    return np.array([known[name] for name in wanted])


def _pictures(
    runs: Sequence[Run],
    settings: Mapping,
    stages: Mapping[str, TrainedStage],
    explained: Mapping[str, Explained],
    shown: np.ndarray,
) -> list[FacePictures]:
    """Input, masked input, and per detector its reconstructions and its attributions.

    The mask is that of the first run that was trained on masked faces, else the one in `settings`.
    """
    run = runs[0]
    recorded = [(stage.mask, each.seed) for each in runs for stage in each.curriculum.stages if stage.mask]
    mask_settings, seed = recorded[0] if recorded else (settings["mask"], settings["seed"])
    mask = FaceMask.from_settings(mask_settings)
    sizes = {name: stage.model.input_size for name, stage in stages.items()}
    manifest, folder = run.faces.manifest, run.faces.folder
    largest = max(sizes.values())
    masked = FaceDataset(manifest, shown, folder, mask=mask, input_size=largest, seed=seed)
    plain = {size: FaceDataset(manifest, shown, folder, input_size=size) for size in set(sizes.values())}
    predictions = {name: each.faces.set_index("row") for name, each in explained.items()}
    found = []
    for place, row in enumerate(shown.tolist()):
        tiles = {"input": tile(plain[largest].pixels(place)), f"mask: {mask_name(mask)}": tile(masked.pixels(place))}
        for name, each in explained.items():
            prefix = f"{name}: " if len(explained) > 1 else ""
            tiles |= {
                f"{prefix}{view}": tile(pixels) for (at, view), pixels in each.reconstructions.items() if at == row
            }
            face = plain[sizes[name]].pixels(place)
            tiles |= {
                f"{prefix}attribution, {view}": tile(overlay(face, heat))
                for (at, view), heat in each.maps.items()
                if at == row
            }
        about = next(iter(predictions.values())).loc[row]
        probabilities = {name: float(table.loc[row, "fake_probability"]) for name, table in predictions.items()}
        found.append(FacePictures(about["sample_id"], int(about["label"]), probabilities, tiles))
    return found


def mask_name(mask: FaceMask) -> str:
    """What a mask covers: ``eyes``, or ``eyes at random places``."""
    return " and ".join(mask.regions) + (" at random places" if mask.place == "random" else "")


def _protocol(run: Run) -> str:
    data, kind = run.config["data"], ", SYNTHETIC" if run.record["synthetic"] else ""
    return (
        f"Data: {data['name']} {data['fingerprint']}{kind}; split {run.config['split']['policy']}; 32-bit; "
        f"trained by {run.record['code']}, explained by {code_version()}."
    )


def _strip_title(face: FacePictures) -> str:
    return f"{face.name}: {'; '.join(verdict['text'] for verdict in face.verdicts())}"


def _file_name(sample_id: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in sample_id)
