"""One numbered step a file, each with its way back."""
