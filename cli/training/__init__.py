"""What is trained, from the command line."""
