"""Layer 7: `fit`, and the `Fit` it returns."""
