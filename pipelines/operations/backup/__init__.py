"""A whole home as a folder to keep elsewhere, and a home made from it again, proven."""
