"""How well the camera is followed."""
