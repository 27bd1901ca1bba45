"""What will probably be asked next, made ready beforehand: in memory alone, for whoever allows it."""
