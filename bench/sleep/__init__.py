"""What one night is worth: how much of an answer stands in a context, before it and after."""
