"""The report on a table of the paper: published and measured numbers side by side, from finished runs.

Read in this order: paper_tables (what the table is) → cells (what is on disk) → protocol (what may stand in one table)
→ results (numbers) → grids, figures (what a reader sees) → page (files). Run it with ``python -m experiments.report``.
"""
