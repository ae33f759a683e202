"""`scene-r1 doctor`: what this machine has and lacks, and the command that mends it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from scene_r1 import __version__
from scene_r1.doctor import Check, core_works, examine


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """0 when the core works, whatever extras are missing; 1 when something it needs is missing or broken."""
    checks = examine()
    works = core_works(checks)
    if args.json:
        print(json.dumps({"version": __version__, "core_works": works, "checks": [asdict(c) for c in checks]}))
    else:
        print("\n".join(table(checks)))
        print("\nThe core works." if works else "\nThe core does not work: mend what is marked with *.")
    return 0 if works else 1


def table(checks: list[Check]) -> list[str]:
    """One line for each check, and below one that is not ok the command that mends it; * marks what the core needs."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        bad = check.required and check.state in ("missing", "broken")
        lines.append(f"{'*' if bad else ' '} {check.state:<8} {check.name:<{width}}  {check.detail}")
        if check.mend and check.state != "ok":
            lines.append(f"  {'':<8} {'':<{width}}  -> {check.mend}")
    return lines
