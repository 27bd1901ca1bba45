"""What can be typed after ``mongars``, one file a group."""
