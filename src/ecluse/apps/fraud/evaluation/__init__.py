"""Measure models: splits, metrics, rankings, calibration, drift, plots."""
