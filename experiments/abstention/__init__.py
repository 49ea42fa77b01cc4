"""How often `deepfake-ms predict` abstains, and whether it should."""
