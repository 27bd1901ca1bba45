"""Work for which nobody waits: in processes of its own, which make way for requests."""
