"""How well recall finds the evidence for questions to long conversations, part by part (LoCoMo's format)."""
