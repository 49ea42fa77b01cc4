"""Contact sheets of prepared faces."""
