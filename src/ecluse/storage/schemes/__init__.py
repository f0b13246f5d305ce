"""Describe the stores of each scheme in a file of its own; `settings/schemes.py` lists them.

What opens a store is imported when one is opened: a home in folders never loads the client of object stores.
"""
