"""What was really asked, looked up again as it would have been found then: numbers for whoever tunes recall."""
