"""Gathering facts: every look has a time limit, changes nothing, and answers what it can."""
