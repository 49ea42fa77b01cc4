"""``deepfake-ms export run=RUN to=FOLDER``: write the detector of a finished run for use without the run."""

import argparse
from pathlib import Path

from rich.console import Console

from deepfake_ms.cli import plain_entry_point
from deepfake_ms.errors import UserError

SETTINGS = ("run", "to", "prepared", "licence")
NEEDED = ("run", "to")


@plain_entry_point
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="deepfake-ms export",
        description="Write the detector of a finished, evaluated run as a folder that needs no run: safetensors with "
        "config.json, ONNX, torch.export, and a model card for Hugging Face. Every file must give the same P(fake) as "
        "the run; otherwise nothing is written. Nothing is uploaded.",
        usage="deepfake-ms export run=RUN to=FOLDER [prepared=FACES] [licence=ID]",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="NAME=VALUE",
        help="run: folder of the run; to: the folder to write, new or empty; prepared: folder of the run's faces, if "
        "they were moved; licence: of the weights, as Hugging Face names it, such as cc-by-nc-4.0",
    )
    settings = _read_settings(parser.parse_args().settings)
    # Take seconds to import.
    from deepfake_ms.exporting.graphs import check_libraries
    from deepfake_ms.exporting.model_card import NOT_STATED
    from deepfake_ms.exporting.results import outdated_results
    from deepfake_ms.exporting.write import export_detector
    from deepfake_ms.prediction.finished_run import open_run
    from deepfake_ms.training.run import Run

    check_libraries()
    console = Console(stderr=True)
    prepared = Path(settings["prepared"]) if "prepared" in settings else None
    run, folder = Run.open(Path(settings["run"]), prepared), Path(settings["to"])
    detector = open_run(run.folder, prepared=prepared)
    with console.status("") as status:
        config = export_detector(
            run,
            folder,
            detector.facts(),
            detector.model,
            detector.probabilities,
            settings.get("licence", NOT_STATED),
            lambda step: status.update(f"{folder}: {step}"),
        )
    for name, difference in config["parity"]["largest_difference"].items():
        size = (folder / name).stat().st_size / 1e6
        print(f"{folder / name}: {size:,.1f} MB, P(fake) differs by at most {difference:.1g} on validation faces")
    print(f"{folder}: wrote config.json and README.md{' · SYNTHETIC DATA' if detector.synthetic else ''}")
    if outdated := outdated_results(run.folder):
        print(f"Not in the model card, because an earlier version scored them: {', '.join(outdated)}.")
    if "licence" not in settings:
        print(
            "The model card states no licence of the weights: set licence=..., or edit it before you share the folder."
        )


def _read_settings(arguments: list[str]) -> dict[str, str]:
    settings = dict(each.partition("=")[::2] for each in arguments)
    if unknown := [each for each in arguments if each.partition("=")[0] not in SETTINGS or "=" not in each]:
        raise UserError(f"{unknown[0]} is no setting of export: write {', '.join(f'{name}=...' for name in SETTINGS)}.")
    if missing := [name for name in NEEDED if not settings.get(name)]:
        named = " and ".join(f"{name}=..." for name in missing)
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"{named} {verb} missing: deepfake-ms export run=RUN to=FOLDER")
    return settings


if __name__ == "__main__":
    main()
