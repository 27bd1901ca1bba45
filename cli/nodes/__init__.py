"""Nodes as the command shows them, and taking one out for maintenance."""
