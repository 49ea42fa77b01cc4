"""Where a detector looks and what it relies on; contact sheets of prepared faces."""

METHODS = ("gradcam", "gradcam_plus_plus", "eigencam", "rollout", "lime")
"""Methods of attribution: Grad-CAM, Grad-CAM++ and Eigen-CAM (pytorch-grad-cam), attention rollout, LIME (captum)."""
