"""Training: the loop, its sampling, optimizer, checkpoints and processes."""
