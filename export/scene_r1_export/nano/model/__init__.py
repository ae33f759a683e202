"""The small model: its sizes, its words, and forward passes that a CPU can train with."""
