"""Where text comes from: files, compressed or not, columns of Parquet files, texts fetched once, and texts made here."""
