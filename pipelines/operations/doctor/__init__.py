"""What is damaged, and what can be restored."""
