"""The speed layer on Spark: Structured Streaming over a topic, from the lake's own position."""
