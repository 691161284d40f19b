"""Independent oracles and random inputs for the tests."""
