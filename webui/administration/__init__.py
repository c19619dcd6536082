"""What administrators see of the server as a whole, and what it does to keep house."""
