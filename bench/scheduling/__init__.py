"""How well requests are placed: a discrete-event simulation that runs the scheduler's own registry and policies."""
