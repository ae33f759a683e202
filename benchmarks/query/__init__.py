"""From a question to a metric 3D box, through the path as it is shipped: `python -m benchmarks.query`."""
