"""The report of a model, `performance.json`, with its types."""
