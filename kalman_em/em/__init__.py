"""Expectation-maximisation: the loop and its stopping rules, and the M-steps that models are built from."""
