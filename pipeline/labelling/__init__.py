"""Work for annotators: which dialogues, for whom, filled in by what, and how far it is."""
