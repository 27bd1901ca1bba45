"""What generates: one file for each backend, named for its technology, and the one place that chooses among them."""
