"""Seeded order events: a shop, the lives of its orders, and the faults of a real feed."""
