"""A second machine: inviting it, letting it in, running inference alone on it, and taking its key away."""
