"""Layer 2: filter, smoother, expectations, prediction and simulation. Arrays in, arrays out."""
