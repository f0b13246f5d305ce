"""Monitor a model at work: drift, alerts, outcomes that arrive later, and one version against another."""
