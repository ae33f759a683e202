"""Measuring latency, memory and accuracy: side by side in one run, with what was measured written down beside it."""
