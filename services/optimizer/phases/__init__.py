"""What a night consists of: a module for each phase."""
