"""Which dialogues to label next, and whether more labels would help."""
