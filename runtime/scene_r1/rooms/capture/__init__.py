"""A real camera in a hand: its walk, its noise, its recordings."""
