"""Describe an uploaded table before anything is trained on it."""
