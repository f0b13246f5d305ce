"""Show the trainings of Écluse at an MLflow server, and start such a server behind Écluse's sign-in."""
