"""The compiler of declared views: one SQL text, run in full and incrementally. Pure."""
