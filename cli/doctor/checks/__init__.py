"""Judging facts: each check is a function of the facts alone, and answers what it finds."""
