"""A page on this machine: a visitor drops a video or image and sees the report on it."""
