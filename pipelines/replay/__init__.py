"""Kappa: a generation built by replaying the log, compared, promoted, rolled back."""
