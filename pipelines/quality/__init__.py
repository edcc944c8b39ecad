"""Audits before publishing, checks of what arrived and is served, and `verify`."""
