"""Storage: the home, connections, transactions, checksums. Knows nothing of orders."""
