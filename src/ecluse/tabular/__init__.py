"""Read tables as people have them: delimited text, workbooks, Parquet; and keep what they upload as tables."""
