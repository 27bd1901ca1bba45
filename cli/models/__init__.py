"""Language models on this machine: found at the hub, downloaded, verified, kept, given a role, taken away."""
