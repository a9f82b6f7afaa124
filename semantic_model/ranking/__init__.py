"""What a ranker is, what a model that trains brings, and how catalogues are scored."""
