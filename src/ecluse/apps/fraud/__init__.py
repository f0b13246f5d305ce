"""Learn from a table of labelled transactions, and score another one with reasons."""
