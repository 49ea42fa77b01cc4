"""A trained detector on any video or image: faces, scores, decisions, reports."""
