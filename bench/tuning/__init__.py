"""Tuning recall on LoCoMo: what is gained on conversations that the search never saw."""
