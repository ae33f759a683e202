"""What a room is made of, before anybody looks at it."""
