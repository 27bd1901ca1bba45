"""``mongars doctor``: what is wrong with an installation, what to do about it, and the safe part of doing it."""
