"""Read tables of transactions: files, columns and their roles."""
