"""The command: a file a verb or a family of verbs. It reads options, calls, and prints."""
