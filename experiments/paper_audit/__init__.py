"""Which F1 averaging, and which error counts, can explain a published accuracy and F1."""
