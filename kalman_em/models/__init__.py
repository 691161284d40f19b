"""Layer 4: few named parameters to a system, expectations to new parameters."""
