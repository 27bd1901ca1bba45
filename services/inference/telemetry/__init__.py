"""What the node says of itself: its state from its replicas and sensors, and when to say it."""
