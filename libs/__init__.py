"""Libraries that the services share and that never import a service."""
