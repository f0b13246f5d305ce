"""Run the jobs of the application in a worker."""
