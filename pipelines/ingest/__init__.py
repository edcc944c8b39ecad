"""Into the log: NDJSON, CSV, UCI Online Retail, and folders where files land."""
