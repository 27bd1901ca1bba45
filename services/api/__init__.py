"""The api service: HTTP for people and programs, translated to contracts."""
