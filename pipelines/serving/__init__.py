"""Read-only SQL over what is live; each answer with the position at which it is true."""
