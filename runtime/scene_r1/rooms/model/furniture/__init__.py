"""Furniture, what hangs on walls, and the shell of a room."""
