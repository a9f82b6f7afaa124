"""Where labels came from, and what changed between two ingests."""
