"""Make features of columns and of an entity's history, and select them."""
