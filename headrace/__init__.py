"""Headrace: order events in, exact numbers out."""
