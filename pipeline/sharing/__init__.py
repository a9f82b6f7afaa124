"""What leaves a workspace for others: a trained model, the labels, and their way to the Hugging Face Hub."""
