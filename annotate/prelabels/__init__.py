"""Pre-labels: what rules, a taught lexicon or a model fill in before annotators look."""
