"""Everything about one run: its folder, its stages, the detector and the loop that trains it."""
