"""Prefect flows: the order of steps, nothing else. They run with or without a server."""

import os

# No usage data leaves the machine. Prefect reads both while it is imported, so this cannot
# wait for an entry point.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# A server for one run (there is no other) takes long to start on a busy machine.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
