"""The speed layer: one commit after the other to the log's end."""
