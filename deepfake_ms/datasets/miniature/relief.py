"""The shape of a face: its outline, and the height field for shading and parallax."""

import cv2
import numpy as np

from deepfake_ms.datasets.miniature.canvas import SIDES, UNIT, X, Y, bump, soft_step, stroke
from deepfake_ms.datasets.miniature.identity import Look, Person


def outline_depth(look: Look) -> np.ndarray:
    """Depth of each point inside the head's outline: 1 at the centre, 0 on the outline, negative outside.

    The outline is an ellipse above the centre of the face and a superellipse, the jaw, below it.
    """
    below, above = np.clip(Y, 0, None) / look.chin, np.clip(-Y, 0, None) / 1.02
    return 1 - (np.abs(X) / look.half_width) ** 2.15 - below**look.jaw_power - above**2.1


def height_field(person: Person) -> np.ndarray:
    """Height of the face towards the viewer in face units, [HEIGHT, WIDTH] float32."""
    look, features = person.look, person.features
    eye_y, tip = features.eye_y, features.nose_tip
    height = 0.80 * np.sqrt(np.clip(1 - (X / 0.95) ** 2 - (Y / 1.22) ** 2, 0.02, 1))

    bridge_top = eye_y - 0.05
    along_nose = np.clip((Y - bridge_top) / (tip - bridge_top), 0, 1)
    ridge_width = 0.055 + 0.05 * along_nose + 0.25 * features.nose_half_width * along_nose
    ridge = stroke(X, ridge_width) * soft_step(Y - bridge_top, 0.16) * soft_step(tip + 0.06 - Y, 0.07)
    height += features.nose_depth * (0.25 + 0.75 * along_nose) * ridge

    for side in SIDES:
        across = X * side
        height += 0.09 * bump(across - 0.8 * features.nose_half_width, Y - tip + 0.01, 0.055, 0.055)  # wing of the nose
        height -= 0.10 * bump(across - features.eye_x, Y - eye_y, 0.20, 0.11)  # eye socket
        height += 0.05 * bump(across - features.eye_x, Y - eye_y, 0.11, 0.075)  # eyeball
        height += 0.05 * bump(across - features.eye_x * 0.9, Y - eye_y + features.brow_height + 0.02, 0.26, 0.07)
        height += 0.07 * bump(across - 0.45, Y - 0.22, 0.24, 0.20)  # cheek

    height += 0.07 * bump(X, Y - features.mouth_y, features.mouth_half_width, 0.10)
    height -= 0.035 * bump(X, Y - features.mouth_y - features.lower_lip - 0.06, 0.16, 0.04)
    height += 0.07 * bump(X, Y - look.chin + 0.13, 0.17, 0.12)
    return cv2.GaussianBlur(height.astype(np.float32), (0, 0), 1.6)


def surface_normals(height: np.ndarray) -> np.ndarray:
    """Unit normals (x right, y down, z towards the viewer) of a height field, [HEIGHT, WIDTH, 3] float32."""
    down, right = np.gradient(height, 1 / UNIT)
    normals = np.dstack([-right, -down, np.ones_like(height)])
    return (normals / np.linalg.norm(normals, axis=2, keepdims=True)).astype(np.float32)
