"""GenConViT: two networks that classify a face together with its reconstruction, and their ensemble.

Deressa et al., *Deepfake Video Detection Using Generative Convolutional Vision Transformer* (2023, arXiv 2307.07036);
the base model of *Herd Mentality in Augmentation: Not a Good Idea!*. Implemented from the paper and from facts about
the released code (erprogs/GenConViT); contains none of the authors' code.
"""

from deepfake_ms.models.genconvit.ed import GenConViTED
from deepfake_ms.models.genconvit.ensemble import GenConViT
from deepfake_ms.models.genconvit.vae import GenConViTVAE

__all__ = ["GenConViT", "GenConViTED", "GenConViTVAE"]
