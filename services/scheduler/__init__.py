"""The scheduler: which replica takes a request, from telemetry that is always a little old."""
