"""SAM2 on the device: a checkpoint of the package `sam2` becomes four ONNX graphs that torch is not needed for."""
