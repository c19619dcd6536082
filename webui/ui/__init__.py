"""The page: what Gradio draws. The only room that knows Gradio; importing this does not load it."""
