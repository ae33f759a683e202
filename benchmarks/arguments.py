"""The arguments that all benchmarks share, and how a benchmark ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scene_r1_engines.errors import BadInput, SceneR1Error

DATA_VARIABLE = "SCENE_R1_DATA"
NO_RECORDING = f"no real recording was given: use --data DIR or set {DATA_VARIABLE}"


def argument_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with --data, --out, --seed and --quick; a benchmark adds its own. name: of its module."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=os.environ.get(DATA_VARIABLE) or None,
        help=f"a real recording (default: ${DATA_VARIABLE}); without one, synthetic rooms only",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("results"), help="where results go")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, supports no claim")
    return parser


def real_recording(args: argparse.Namespace) -> Path | None:
    """The recording to measure on, or None: then say `report.not_measured(..., NO_RECORDING)`.

    Raises BadInput when one was named that is not there, so that a typing error never becomes "not measured".
    """
    if args.data is None:
        return None
    path = Path(args.data)
    if not path.exists():
        raise BadInput(f"{path}: no such recording: correct --data or {DATA_VARIABLE}, or leave both out")
    return path


def run(
    main: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, run, and return the exit code: 0, or that of a SceneR1Error, whose message goes to stderr."""
    args = parser.parse_args(argv)
    try:
        return main(args) or 0
    except SceneR1Error as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
