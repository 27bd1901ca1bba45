"""Training runs, and the adapters that they make, from the command line."""
