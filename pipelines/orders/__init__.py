"""The write side: the order as an aggregate, its rules and the events that it emits."""
