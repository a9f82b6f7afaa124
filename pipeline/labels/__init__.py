"""What came back: pulled, resolved, checked, kept, traced and compared."""
