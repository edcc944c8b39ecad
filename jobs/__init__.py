"""Spark jobs. Each can be run by itself with ``spark-submit``."""
