"""What `fit` returns for models with hidden values that are no state space: one kind of result for each."""
