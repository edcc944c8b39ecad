"""Looking after a home: status, alerts, maintenance."""
