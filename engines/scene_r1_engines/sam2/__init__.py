"""SAM2 without PyTorch: four ONNX graphs, a memory bank, and the loop that the authors' video predictor runs."""
