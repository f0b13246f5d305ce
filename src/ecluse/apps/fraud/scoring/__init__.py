"""Score tables with a published model."""
