"""What happens to a change after it was proposed, until it is kept or undone; the ledger alone says where it stands."""
