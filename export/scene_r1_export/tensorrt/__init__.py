"""ONNX graphs become TensorRT engines on the machine that runs them, or are checked where there is no GPU."""
