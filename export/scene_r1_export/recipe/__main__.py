"""`python -m scene_r1_export.recipe`: recordings into prompts with their truth, and a GRPO run over them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scene_r1.program import Program, run_program

COMMANDS = {
    # name: what it does. Its module, scene_r1_export.recipe.commands.<name>, has configure(parser) and run(args).
    "data": "recordings and questions become pictures, prompts and their truth",
    "train": "tune a checkpoint on such data with GRPO",
}
ABOUT = "Tune a Qwen2.5-VL or Qwen3-VL on RGB-D recordings, in the words in which Scene-R1 Edge will ask it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit only for wrong usage (code 2), --help, --version."""
    name = "python -m scene_r1_export.recipe"
    return run_program(Program(name, "scene_r1_export.recipe.commands", ABOUT, COMMANDS), argv)


if __name__ == "__main__":
    sys.exit(main())
