"""``python -m deepfake_ms.explain``: pictures that let a person check what the models see."""

from pathlib import Path

import cv2
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.assembly import locate_faces
from deepfake_ms.cli import entry_point
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.contact_sheet import mask_sheet
from deepfake_ms.files import write_atomically
from deepfake_ms.manifest import read_manifest


@entry_point("explain")
def main(cfg: DictConfig) -> None:
    if cfg.what != "masks":
        raise UserError(f"what={cfg.what} is unknown; choose masks.")
    prepared = locate_faces(cfg)
    eye_mask = EyeMask(**OmegaConf.to_container(cfg.eye_mask))
    sheet = mask_sheet(read_manifest(prepared), prepared, eye_mask, cfg.count, cfg.seed)
    path = Path(cfg.output) / f"{prepared.name}_masks.png"
    write_atomically(path, cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    Console(soft_wrap=True).print(f"{cfg.count} faces, as cropped and with masked eyes: {path}")


if __name__ == "__main__":
    main()
