"""What runs as a process of its own: batch and speed layer in Spark, and Great Expectations."""
