"""What an installation does for itself now and then: one small supervised process with a list of periodic duties."""
