"""Which dialogues to label next, and whether it is worth it."""
