"""Back-projection on a CUDA GPU, where there is one. Importing this imports no CUDA; its `projector` does."""

from scene_r1.backproject.cuda.choice import DEVICES, WORTH_PIXELS, check_device, trouble

__all__ = ["DEVICES", "WORTH_PIXELS", "check_device", "trouble"]
