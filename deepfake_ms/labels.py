"""The two classes, in the one order that the whole project uses.

`FAKE` is the positive class: scores are P(fake), and every metric that has a positive class means fake.
The released GenConViT and paper checkpoints use the opposite order (ImageFolder sorts fake before real).
"""

REAL, FAKE = 0, 1
CLASS_NAMES = ("real", "fake")
UNLABELLED = "unlabelled"
"""Label of a source that can be prepared and scored but neither trained on nor evaluated."""
