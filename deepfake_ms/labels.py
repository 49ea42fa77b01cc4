"""The two classes, in the order used throughout the project.

`FAKE` is the positive class: scores are P(fake), and every metric with a positive class refers to fake.
The released checkpoints of GenConViT and of the paper use the opposite order (ImageFolder sorts fake before real).
"""

REAL, FAKE = 0, 1
CLASS_NAMES = ("real", "fake")
UNLABELLED = "unlabelled"
"""Label of sources without a known class: they can be prepared and scored, but not trained on."""
