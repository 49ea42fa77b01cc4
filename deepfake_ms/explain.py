"""``deepfake-ms explain``: contact sheets of crops and masks."""

from pathlib import Path

import cv2
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from deepfake_ms.assembly import find_faces
from deepfake_ms.cli import entry_point
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.contact_sheet import mask_sheet
from deepfake_ms.files import write_atomically


@entry_point("explain")
def main(cfg: DictConfig) -> None:
    if cfg.what != "masks":
        raise UserError(f"what={cfg.what} is unknown; choose masks.")
    faces = find_faces(cfg)
    mask = FaceMask.from_settings(OmegaConf.to_container(cfg.mask))
    sheet = mask_sheet(faces, mask, cfg.count, cfg.seed)
    path = Path(cfg.output) / f"{faces.folder.name}_{cfg.mask.name}.png"
    write_atomically(path, cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    Console(soft_wrap=True).print(
        f"{cfg.count} faces, as cropped and with the mask {cfg.mask.name}: {path}", markup=False
    )


if __name__ == "__main__":
    main()
