"""Models with hidden values that are no state space: each lays itself out as an EM problem, with starts of its own."""
