"""Keeping the installation's processes alive with supervisord, and asking it how they are."""
