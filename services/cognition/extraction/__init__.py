"""Facts from what people say: drawn by rules, or by a model where one is, ordered in time, kept with their sources."""
