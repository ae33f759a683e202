"""The `scene-r1` command. Answers go to stdout (`--json`: the last line is one JSON object), all else to stderr."""

from __future__ import annotations

from collections.abc import Sequence

from scene_r1.program import BAD_INPUT, FAULT, INTERRUPTED, NOT_FOUND, OK, TERMINATED, UNFINISHED, Program, run_program

COMMANDS = {
    # name: what it does. Its module, scene_r1.cli.<name>, has configure(parser) and run(args) -> exit code.
    "ask": "a question about a recording becomes a metric 3D box, or words, and the reasons for it",
    "chat": "read a recording once, then answer questions from standard input",
    "live": "a camera runs, and questions typed meanwhile are answered from what it has seen so far",
    "locate": "a 2D box in one frame becomes a metric 3D box in the world",
    "keyframes": "which frames an online selection of k keeps, and how much of the room they cover",
    "inspect": "what is in a recording, and whether its poses and depth make sense",
    "convert": "write a recording in another format",
    "replay": "play a recording of a live session again, and say whether keyframes and answers are the same",
    "demo": "make a synthetic room, ask three questions about it, compare with the truth",
    "doctor": "what this machine has and lacks, and the command that mends it",
    "warmup": "compile the kernels now, so that the first frame need not wait",
}
ABOUT = "Find things in a room with a depth camera: a metric 3D box, and the reasons for it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit only for wrong usage (code 2), --help, --version."""
    return run_program(Program("scene-r1", "scene_r1.cli", ABOUT, COMMANDS), argv)


__all__ = ["BAD_INPUT", "COMMANDS", "FAULT", "INTERRUPTED", "NOT_FOUND", "OK", "TERMINATED", "UNFINISHED", "main"]
