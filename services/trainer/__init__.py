"""The trainer: a text encoder out of a decoder, by training that resumes bit by bit."""
