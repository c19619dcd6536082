"""The HTTP face: JSON, events and the OpenAI dialect; one file for each first path segment."""
