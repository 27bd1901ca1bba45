"""Telling from paired measurements whether something became better, or whether that may be chance. Needs numpy."""
