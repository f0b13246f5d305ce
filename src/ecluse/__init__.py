"""Écluse: machine-learning applications that run on a laptop and, unchanged, in the cloud."""

__version__ = "0.1.0"
