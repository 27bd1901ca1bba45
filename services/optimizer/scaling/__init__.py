"""How many processes, containers or replicas there are: decided by the load, set in the ledger, and seen to."""
