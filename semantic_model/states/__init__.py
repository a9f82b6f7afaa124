"""The state tracker: what each turn of a dialogue changes, and what the user wants by then."""
