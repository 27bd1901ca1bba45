"""An installation that systemd starts with the machine, and everything of an installation that can be removed."""
