"""The command: a file a verb or a family of verbs, nothing decided here."""
