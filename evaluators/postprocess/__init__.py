"""Processing of prediction tables, in this order: blending, gating, filling, smoothing, thresholds (``chain``)."""
