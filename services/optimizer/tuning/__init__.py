"""Looking for better settings, and letting questions that the search never saw decide."""
