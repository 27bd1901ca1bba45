"""Alerts to a webhook of the owner's choice: a disk nearly full, a failed backup, a lost node, heat, a crash loop."""
