"""Turn images into a versioned, verified classifier that a page and an API serve."""
