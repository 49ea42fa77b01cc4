"""Where do the detectors of Table 2 look, and what do they need? The paper's Figure 2 as numbers."""
