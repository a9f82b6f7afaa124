"""Pages to read: agreement, and feedback for annotators."""
