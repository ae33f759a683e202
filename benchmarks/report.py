"""What a benchmark hands over: a folder with result.json, a card and tables for people, and one last line of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import environment, plain, utc_now
from scene_r1.files import whole_file
from scene_r1_engines.errors import BadInput

SCHEMA_VERSION = 1
NOT_MEASURED = "not measured"


class Report:
    """The result of one benchmark. The environment is read when it is made, so make it before the load begins.

        report = Report("kernels", args.out, config=config)
        report.add("backproject", run.as_dict())
        report.table("Back-projection", ("kernel", "p50", "p90"), rows)
        report.finish()

    name: of the benchmark. out: folder of all results. `folder` is this run's own, `<utc>-<device>-<sha>` within it;
    telemetry goes there, and it is made when first asked for.
    """

    def __init__(self, name: str, out: Path, config: object = None) -> None:
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise BadInput(f"a benchmark's name is made of a-z, 0-9 and _, got {name!r}")
        self.name = name
        self.environment = environment(config)
        self._out = out
        self._folder: Path | None = None
        self._measured: dict[str, Any] = {}
        self._missing: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        if self._folder is None:
            sha = (self.environment["git_sha"] or "nogit")[:8]
            stem = f"{utc_now():%Y%m%dT%H%M%SZ}-{self.environment['device']}-{sha}"
            self._folder = _new_folder(self._out, stem)
        return self._folder

    def add(self, key: str, value: object) -> None:
        """Put a measurement under `key`, with units in the names. Raises BadInput for a key that is taken."""
        if key in self._measured or key in self._missing:
            raise BadInput(f"{key!r} is in this report already")
        self._measured[key] = plain(value)

    def not_measured(self, key: str, why: str) -> None:
        """Say that a figure is missing, and why; it is printed and kept as "not measured", never left out."""
        if key in self._measured or key in self._missing:
            raise BadInput(f"{key!r} is in this report already")
        self._missing[key] = why

    def as_dict(self) -> dict[str, Any]:
        missing = {key: {"status": NOT_MEASURED, "because": why} for key, why in self._missing.items()}
        return {
            "schema_version": SCHEMA_VERSION,
            "benchmark": self.name,
            "environment": self.environment,
            "results": {**self._measured, **missing},
        }

    def card(self) -> None:
        """Print what machine this is, for a person to judge the figures by."""
        e = self.environment
        gib = (e["memory_total_bytes"] or 0) / 2**30
        print(f"== {self.name} ==")
        print(f"device   {e['jetson_model'] or e['cpu_model']}, {e['cpu_cores_usable']} cores, {gib:.1f} GiB")
        print(f"gpu      {'; '.join(e['gpus']) or 'none found'}")
        print(f"state    governor {e['cpu_governor'] or 'unknown'}, load {e['load_average_1min_at_start']}")
        print(f"python   {e['python']}, " + ", ".join(f"{k} {v}" for k, v in e["packages"].items()))
        dirty = {True: " with changes", False: "", None: ""}[e["git_dirty"]]
        print(f"code     {(e['git_sha'] or 'not from a checkout')[:19]}{dirty}")

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table. A None cell reads "not measured"."""
        print(f"\n{title}\n" + "\n".join(table_lines(header, rows)))

    def finish(self) -> Path:
        """Write result.json whole, print what was not measured, and print the same JSON as the last line of stdout."""
        result = self.as_dict()
        with whole_file(self.folder / "result.json", overwrite=False) as path:
            path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for key, why in self._missing.items():
            print(f"{key}: {NOT_MEASURED} ({why})")
        print(f"\nwritten to {self.folder.name}/result.json")
        print(json.dumps(result, allow_nan=False), flush=True)
        return self.folder / "result.json"


def table_lines(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table with its columns aligned: the first to the left, the others to the right."""
    cells = [[NOT_MEASURED if cell is None else str(cell) for cell in row] for row in rows]
    if any(len(row) != len(header) for row in cells):
        raise BadInput(f"every row of the table needs {len(header)} cells, as its header has")
    widths = [max(3, *(len(row[i]) for row in [list(header), *cells])) for i in range(len(header))]
    rule = ["-" * widths[0]] + ["-" * (w - 1) + ":" for w in widths[1:]]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(w) for cell, w in others)]) + " |"

    return [line(header), line(rule), *(line(row) for row in cells)]


def read_result(path: Path) -> Mapping[str, Any]:
    """A result.json. Raises BadInput when it is missing, broken or of another schema."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable result.json ({error}): run the benchmark again") from error
    if not isinstance(result, dict) or result.get("schema_version") != SCHEMA_VERSION:
        raise BadInput(f"{path}: not a result of schema_version {SCHEMA_VERSION}: run the benchmark again")
    return result


def _new_folder(out: Path, stem: str) -> Path:
    for number in range(1, 1000):
        folder = out / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if out.exists() and not out.is_dir():
                break
            continue
        except OSError as error:
            raise BadInput(f"{out}: results cannot be written there ({error.strerror}): give another --out") from error
        return folder
    raise BadInput(f"{out}: results cannot be written there: give another --out")
