"""Scripts that each print one comparable figure: `python -m benchmarks.startup`."""
