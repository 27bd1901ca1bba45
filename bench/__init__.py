"""Measurements beside peers in the same run; ``python -m bench.NAME --help`` says what each one does."""
