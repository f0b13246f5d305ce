"""Scripts that measure Écluse, beside other tools where these do the same: `python -m benchmarks.storage`."""
