"""Pre-labels from words: what a turn names, said as the update that it means."""
