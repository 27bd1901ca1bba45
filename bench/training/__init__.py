"""What training is worth, and what it costs beside the published recipe."""
