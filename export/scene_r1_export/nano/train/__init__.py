"""Training: the vision tower first, then the language on what it sees, then reinforcement."""
