"""The ``mongars`` command: makes, starts, watches and stops an installation on one machine."""
