"""One answer of several people's: what each says, what is agreed, and how the rest is decided."""
