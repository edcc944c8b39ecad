"""Complete served lines: base, deltas, logic; which is live, and what a switch restates."""
