"""What an ideal camera sees in a room: ray casting, light and shading."""
