"""`python -m scene_r1_export.nano COMMAND RUN_DIR`: train the small model; each command goes on where it was left."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from scene_r1_engines.errors import MissingExtra, SceneR1Error

COMMANDS = {
    "data": "make rooms to learn from",
    "adopt": "begin with the weights of an exported model instead",
    "train": "the vision tower and the language, supervised",
    "grpo": "reinforcement with Scene-R1's rewards",
    "eval": "rewards on rooms it has not seen",
    "export": "to GGUF, with manifest and card",
    "plot": "the logs as pictures and a table",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scene_r1_export.nano", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    try:
        for name, does in COMMANDS.items():
            command = commands.add_parser(name, help=does, description=does)
            command.add_argument("run", metavar="RUN_DIR", help="folder of the run; what is there is gone on with")
            command.add_argument(
                "--smoke", action="store_true", help="a tiny model and a few steps, to see that it runs"
            )
            module = import_module(f"scene_r1_export.nano.commands.{name}")
            module.configure(command)
            command.set_defaults(function=module.run)
    except ImportError as error:
        refused = MissingExtra("train", "training the small model", str(error))
        sys.stderr.write(f"nano: {refused}\n")
        return refused.exit_code
    args = parser.parse_args(argv)
    try:
        return int(args.function(args))
    except SceneR1Error as error:
        sys.stderr.write(f"nano: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("nano: stopped; the same command goes on where the last state was saved\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
