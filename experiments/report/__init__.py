"""The report on a table of the paper: published and measured numbers side by side, from finished runs.

Read in this order: paper_tables (the rows of a table) → cells (the runs on disk) → protocol (which runs can be
compared) → results (the numbers) → grids, figures (how they are shown) → page (the files).
Run it with ``python -m experiments.report``.
"""
