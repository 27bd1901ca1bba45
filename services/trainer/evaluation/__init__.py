"""Whether what was trained is better than what it was trained from, by more than chance."""
