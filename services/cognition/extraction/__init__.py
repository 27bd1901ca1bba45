"""Facts from what people say: drawn by rules (and by a model where one is), ordered in time, kept with their sources."""
