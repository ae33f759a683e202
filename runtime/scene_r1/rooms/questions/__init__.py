"""Questions about a room that have one answer, and the truth about it."""
