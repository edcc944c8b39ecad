"""What an order event is, and what is computed from it. Imports nothing of ours."""
