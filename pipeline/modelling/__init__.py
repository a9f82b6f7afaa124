"""Training runs of a workspace: train, evaluate, recommend."""
