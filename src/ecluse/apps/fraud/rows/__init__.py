"""Keep the rows of the application in the catalog."""
