"""Lambda: a base made from the log by Spark or DuckDB, audited, published in one transaction."""
