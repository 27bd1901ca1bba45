"""How well recall would have found what answers rested on, with other settings: from kept evidence alone. Pure."""
