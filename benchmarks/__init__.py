"""Speed and memory of the package beside hand-written C++ and other libraries: `python -m benchmarks`."""
