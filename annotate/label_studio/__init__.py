"""Label Studio: the server, the one door to it, and what changed there."""
