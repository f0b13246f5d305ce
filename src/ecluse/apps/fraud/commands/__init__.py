"""Run the commands of the application."""
