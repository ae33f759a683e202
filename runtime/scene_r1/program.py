"""A command with subcommands: how it is parsed, how it is interrupted, and how its errors become exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from types import FrameType, ModuleType

from scene_r1 import __version__

OK, FAULT, BAD_INPUT, NOT_FOUND, UNFINISHED = 0, 1, 2, 3, 4
"""Exit codes. UNFINISHED: truncated, timed out or not ready."""
INTERRUPTED, TERMINATED = 130, 143
"""What shells expect after SIGINT and SIGTERM."""


@dataclass(frozen=True, slots=True)
class Program:
    """name: of the executable. commands: what each does; the module `package`.<command>, with _ for -, has
    configure(parser) and run(args) -> exit code, and is imported only for its own command."""

    name: str
    package: str
    description: str
    commands: Mapping[str, str]


class _Terminated(BaseException):
    """SIGTERM, raised where the program is, so that what is half-written is removed on the way out."""


def run_program(program: Program, argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit only for wrong usage (code 2), --help, --version."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = " ".join([program.name, *(word for word in arguments[:1] if word in program.commands)])
    try:
        with _termination():
            code = _run(program, arguments)
            sys.stdout.flush()  # here, where a full disk or a reader that went away can still be told
            return code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        print(f"{name}: terminated", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:
        _flush_or_discard()  # the reader of our output went away; nothing is left to say to it
        return FAULT
    except OSError as error:  # of the machine: a full disk, a file that went away; -v has logged where
        what = "" if error.filename is None else f"{error.filename}: "
        print(f"{name}: {what}{error.strerror or error}", file=sys.stderr)
        _flush_or_discard()
        return FAULT


def _run(program: Program, arguments: list[str]) -> int:
    # Imported here: it imports numpy, and an interrupt during that is one line and no traceback.
    from scene_r1_engines.errors import BadRecording, SceneR1Error

    args = _parsed(program, arguments)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return int(_module(program, args.command).run(args))
    except SceneR1Error as error:
        if args.verbose:
            logging.getLogger(__name__).exception("%s failed", args.command)
        print(f"{program.name} {args.command}: {error}", file=sys.stderr)
        if program.name == "scene-r1" and isinstance(error, BadRecording) and error.frame:
            print("the frames before it are good: scene-r1 convert --keep-good-prefix keeps them", file=sys.stderr)
        return error.exit_code
    except OSError:
        if args.verbose:
            logging.getLogger(__name__).exception("%s failed", args.command)
        raise


def _parsed(program: Program, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=program.name, description=program.description)
    parser.add_argument("--version", action="version", version=f"scene-r1-edge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in program.commands.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        sub.add_argument("-v", "--verbose", action="store_true", help="log what happens to stderr")
        if name in arguments[:1]:
            _module(program, name).configure(sub)
    return parser.parse_args(arguments)


def _module(program: Program, command: str) -> ModuleType:
    return import_module(f"{program.package}.{command.replace('-', '_')}")


@contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM raises _Terminated in the block. Only the main thread may say so; elsewhere nothing is changed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _flush_or_discard() -> None:
    """What cannot be written goes nowhere, so that the interpreter does not fail to write it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):  # a stdout that is no file has nothing to discard
            out = sys.stdout.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, out)
            os.close(nowhere)
