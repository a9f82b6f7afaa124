"""Belief states: updates accumulated over a dialogue, the splits D_F and D_P, and where each cell came from."""
