"""What was really asked, placed again under other weights, by the scheduler's own code: numbers alone."""
