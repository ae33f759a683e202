"""The `scene-r1-export` command. Answers go to stdout (`--json`: the last line is JSON), all else to stderr."""

from __future__ import annotations

from collections.abc import Sequence

from scene_r1.program import Program, run_program

COMMANDS = {
    # name: what it does. Its module, scene_r1_export.cli.<name>, has configure(parser) and run(args) -> exit code;
    # a - in a name is a _ in the module's.
    "vlm": "a vision-language checkpoint becomes a model folder for llama.cpp",
    "imatrix": "how much each input of a checkpoint's layers matters, for quantising it",
    "sam2": "a SAM2 checkpoint becomes four ONNX graphs in a model folder",
    "tensorrt": "the ONNX graphs of a model folder become TensorRT engines, on the machine that will run them",
    "check-tensorrt": "are a model folder's ONNX graphs what NVIDIA's parser and builder take? Needs no GPU",
    "verify": "compare a model folder with the checkpoint it was made from",
}
ABOUT = "Turn checkpoints into the files that Scene-R1 Edge loads."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit only for wrong usage (code 2), --help, --version."""
    return run_program(Program("scene-r1-export", "scene_r1_export.cli", ABOUT, COMMANDS), argv)
