"""Open a published version in a process of its own, and answer rows there.

The files of a version were written by whoever published it, and libraries that read them were not made for strangers'
files: one damaged on purpose ends the process that reads it, or keeps it busy for ever. `serving` is what runs in that
process; `inference.isolated` is the other side.
"""
