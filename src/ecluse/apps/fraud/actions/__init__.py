"""Do what pages, API and commands ask for: add tables, queue work."""
