"""Who labels what: annotators, their shares of the dialogues, and how far they are."""
