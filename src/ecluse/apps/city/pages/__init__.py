"""Show the pages of the application."""
