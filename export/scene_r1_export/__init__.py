"""From checkpoints to the files that the engines load."""
