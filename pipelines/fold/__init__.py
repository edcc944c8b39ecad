"""From the set of an order's events to its rows, and what new events change. Pure."""
