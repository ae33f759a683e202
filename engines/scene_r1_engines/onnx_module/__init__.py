"""ONNX Runtime behind the Module protocol, and the bounded reader that looks at a graph before it does."""

from scene_r1_engines.onnx_module.graph_file import OnnxGraph, read_onnx
from scene_r1_engines.onnx_module.module import OnnxModule

__all__ = ["OnnxGraph", "OnnxModule", "read_onnx"]
