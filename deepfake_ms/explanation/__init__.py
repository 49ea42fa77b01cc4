"""Where a detector looks and what it relies on; contact sheets of prepared faces."""

METHODS = {
    "gradcam": "Grad-CAM",
    "gradcam_plus_plus": "Grad-CAM++",
    "eigencam": "Eigen-CAM",
    "rollout": "Attention rollout",
    "lime": "LIME",
}
"""Methods of attribution → their titles. The CAMs are pytorch-grad-cam's, LIME is captum's."""
