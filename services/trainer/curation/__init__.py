"""From what people said and rated to a dataset that may be trained on: chosen, scrubbed, told apart, split, kept."""
