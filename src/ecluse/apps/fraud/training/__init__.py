"""Train models: plan, search, record, report."""
