"""From a vetted checkpoint to GGUF files, by llama.cpp's own converter in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from scene_r1_engines.errors import BadModelFile, EngineFailed, MissingExtra

CHILD = Path(__file__).with_name("converter_child.py")
SILENT_SECONDS = 900
"""A converter that says nothing for so long is stopped. Its longest silence, writing one tensor, is far below."""
TAIL_LINES = 12
"""Of what it said last, in an error."""
KEPT_LINES = 200
"""Looked through for known reasons; a traceback of many frames may follow them."""
PERCENT = re.compile(r"^Writing:\s+(\d{1,3})%")
UNKNOWN_PRE_TOKENIZER = "BPE pre-tokenizer was not recognized"
HASH = re.compile(r"chkhsh:\s+([0-9a-f]{64})")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to convert. checkpoint: a folder of vetted files. origin: where they came from, for what errors say.
    converter: as `find_converter` gives it. float_type: F32, BF16 or F16. pre_tokenizer: as the checkpoint declares it,
    None where the converter is to know it. name: of the model. metadata: further strings for
    the GGUF file."""

    checkpoint: Path
    origin: Path
    converter: Path
    float_type: str
    pre_tokenizer: str | None
    name: str
    metadata: Mapping[str, str]


def convert_text(conversion: Conversion, out: Path) -> str:
    """Write the text model to `out`. Returns llama.cpp's name of the pre-tokenizer.

    Raises BadModelFile for a tokenizer that the converter does not know, EngineFailed with the end of what the
    converter said when it fails; `out` is then not there.
    """
    return _convert(conversion, out, vision=False)


def convert_vision(conversion: Conversion, out: Path) -> None:
    """Write the vision tower (mmproj) to `out`. Raises as `convert_text`."""
    _convert(conversion, out, vision=True)


def _convert(conversion: Conversion, out: Path, vision: bool) -> str:
    for module in ("torch", "transformers", "sentencepiece", "yaml"):
        if importlib.util.find_spec(module) is None:  # here, and not as the end of a traceback of the converter's
            raise MissingExtra("export", "llama.cpp's converter", f"no module {module}")
    part = "vision tower" if vision else "text model"
    notes = tuple(out.with_name(f"{out.name}.{name}.json") for name in ("settings", "report"))
    settings, report = notes
    _write_json(
        settings,
        {
            "converter": os.fspath(conversion.converter),
            "pre_tokenizer": conversion.pre_tokenizer,
            "metadata": dict(conversion.metadata),
            "report": os.fspath(report),
        },
    )
    command = [sys.executable, os.fspath(CHILD), os.fspath(settings), os.fspath(conversion.checkpoint)]
    command += ["--outtype", conversion.float_type.lower(), "--outfile", os.fspath(out)]
    command += [f"--model-name={conversion.name}", *(["--mmproj"] if vision else [])]
    try:
        code, tail = _run(command, part)
        if code == 0 and out.is_file() and report.is_file():
            return str(json.loads(report.read_text(encoding="utf-8"))["pre_tokenizer"])
        with suppress(FileNotFoundError):
            out.unlink()
        raise _fault(conversion, part, code, tail)
    finally:
        for path in notes:
            path.unlink(missing_ok=True)


def _run(command: list[str], part: str) -> tuple[int, list[str]]:
    """Run to the end, showing progress. Returns the exit code and the last lines."""
    # Nothing that a checkpoint says may fetch anything; and words come at once, for the progress.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    tail: deque[str] = deque(maxlen=KEPT_LINES)
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as child,
        tqdm(total=100, desc=part, unit="%", file=sys.stderr, disable=not sys.stderr.isatty()) as bar,
    ):
        try:
            for line in _lines(child, part):
                if found := PERCENT.match(line):
                    bar.update(int(found[1]) - bar.n)
                    continue
                tail.append(line[:500])
                logger.info("converter: %s", line[:500])
            return child.wait(timeout=SILENT_SECONDS), list(tail)
        except subprocess.TimeoutExpired:
            child.kill()
            raise EngineFailed(f"the {part}'s converter does not end and was stopped") from None
        except BaseException:
            child.kill()
            raise


def _lines(child: subprocess.Popen[bytes], part: str) -> Iterator[str]:
    """What the child says, by lines; a bar that is drawn anew is a line each time."""
    if child.stdout is None:
        raise EngineFailed(f"the {part}'s converter has no output to read")
    rest = b""
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not ready.select(SILENT_SECONDS):
                raise EngineFailed(f"converting the {part} made no progress for {SILENT_SECONDS} s and was stopped")
            piece = os.read(child.stdout.fileno(), 1 << 16)
            *whole, rest = re.split(rb"[\r\n]+", rest + piece)
            yield from (line.decode("utf-8", "replace") for line in whole if line)
            if not piece:
                break
            rest = rest[-(1 << 16) :]
    if rest:
        yield rest.decode("utf-8", "replace")


def _fault(conversion: Conversion, part: str, code: int, tail: list[str]) -> BadModelFile | EngineFailed:
    said = "\n".join(tail)
    if UNKNOWN_PRE_TOKENIZER in said:
        found = HASH.search(said)
        return BadModelFile(
            conversion.origin / "tokenizer.json",
            f"llama.cpp's converter does not know how this tokenizer splits text (hash {found[1] if found else '?'}): "
            'take a newer llama.cpp (--llama-cpp DIR), or, when you know it, declare it in config.json: "scene_r1": '
            '{"pre_tokenizer": "qwen2"}',
        )
    why = f"was killed by signal {-code}; out of memory?" if code < 0 else f"ended with code {code}"
    lines = "\n  ".join(tail[-TAIL_LINES:])
    return EngineFailed(f"converting the {part}: llama.cpp's converter {why}. It said last:\n  {lines}")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
