"""Score tables without labels: with reference models that match them, and by how unusual a row is."""
