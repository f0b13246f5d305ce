"""Recognise a person's table in the library of reference tables, under whatever names its columns have."""
