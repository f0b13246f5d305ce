"""Hold the applications of this distribution, each in a package of its own."""
