"""The OpenAI dialect under `/v1`, over the same engine path as the chat."""
