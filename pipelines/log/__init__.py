"""The ordered, append-only, partitioned sequence of events: the port and the embedded log."""
