"""Taking a state folder to a newer version, or back to what it was: never half."""
