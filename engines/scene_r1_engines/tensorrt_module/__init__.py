"""SAM2's graphs as TensorRT engines, run without PyTorch. TensorRT and the CUDA driver are loaded on use."""

from scene_r1_engines.tensorrt_module.module import TensorRtModule, open_engine, open_engines

__all__ = ["TensorRtModule", "open_engine", "open_engines"]
