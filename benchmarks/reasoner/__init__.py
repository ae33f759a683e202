"""What a question over many keyframes costs: `python -m benchmarks.reasoner`."""
