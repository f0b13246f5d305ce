"""Classify texts: an application for Écluse in a package of its own."""
