"""Serve the pages and the HTTP API."""
