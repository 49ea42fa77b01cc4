"""The plan of a sweep."""
