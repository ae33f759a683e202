"""The `scene-r1-rooms` command. Answers go to stdout (`--json`: the last line is JSON), all else to stderr."""

from __future__ import annotations

from collections.abc import Sequence

from scene_r1.program import Program, run_program

COMMANDS = {
    # name: what it does. Its module, scene_r1.rooms.commands.<name>, has configure(parser) and run(args) -> exit code.
    "make": "make rooms: walks through them as recordings, the truth about them, and questions",
    "show": "what is in made rooms and what is asked about them, in words or as a picture",
}
ABOUT = "Synthetic rooms in which everything is known: to learn from, and to be judged by."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit only for wrong usage (code 2), --help, --version."""
    return run_program(Program("scene-r1-rooms", "scene_r1.rooms.commands", ABOUT, COMMANDS), argv)


if __name__ == "__main__":
    raise SystemExit(main())
