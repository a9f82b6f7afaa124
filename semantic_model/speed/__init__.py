"""What ``semctl benchmark`` times of the model: made-up inputs of any size, and the opponents."""
