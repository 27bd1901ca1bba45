"""What a night makes of memories: their telling sentences, whole, with the times written out."""
