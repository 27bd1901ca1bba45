"""What every service may import: contracts, the bus, errors, settings, telemetry and hardware."""
