"""The phases of a night: each an improvement with its measure."""
