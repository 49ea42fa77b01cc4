"""The Weights & Biases report of a table, and a W&B sweep."""
