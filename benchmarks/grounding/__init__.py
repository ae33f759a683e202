"""From a question to a metric 3D box, judged against the truth: synthetic rooms, and the published data sets."""
