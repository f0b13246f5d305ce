"""Track trainings of every application: parameters, metrics by step, tags, artifacts; compare them."""
