"""The engine: runs a loaded model; knows tokens, not users, HTTP or SQL."""
