"""Isolation at the storage: every place that builds a key of something a client sends, tried with what is hostile."""
