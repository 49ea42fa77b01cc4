"""Where a model looks, and what it is shown."""
