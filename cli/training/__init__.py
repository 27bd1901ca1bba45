"""Training runs from the command line."""
