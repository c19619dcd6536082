"""Model files: what is there, what their headers say, and how the first one comes here."""
