"""Reading and writing rows, by aggregate; every function works within the caller's transaction."""
