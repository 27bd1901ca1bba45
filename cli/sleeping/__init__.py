"""``mongars sleep``: what it asks, and how it says what it hears."""
