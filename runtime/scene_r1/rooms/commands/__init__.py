"""What `scene-r1-rooms` can do, one module for each command."""
