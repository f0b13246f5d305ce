"""Answer the HTTP API of the application."""
