"""`scene-r1 chat`: read a recording once, then answer questions from standard input, one a line."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from scene_r1.answer import Answer
from scene_r1.cli import OK
from scene_r1.cli.asking import Asked, add_options, effective, model_of, save, say, watch
from scene_r1.files import check_output_folder
from scene_r1.grounder import Task, open_grounder
from scene_r1.sources import open_source
from scene_r1_engines.errors import BadQuestion, SceneR1Error
from scene_r1_engines.limits import Limits

IN_WORDS = "/vqa"
MOST_CHARACTERS = 1 << 16
"""Of a line that is read; far above what a question may have, so that a longer one is refused and not cut."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a folder or file that `scene-r1 inspect` can read")
    add_options(parser)
    parser.epilog = (
        "One question a line; '/vqa QUESTION' is answered in words whatever --task says. The input's end ends it. "
        "--json: one line of JSON for each question. --out: a folder for each question, 1, 2, ..."
    )


def run(args: argparse.Namespace) -> int:
    config = effective(args)
    out = None if args.out is None else check_output_folder(args.out)
    with open_source(args.recording) as source, open_grounder(config, model_of(args, config)) as grounder:
        watch(source, grounder)
        for number, line in enumerate(questions(), 1):
            folder = None if out is None else out / str(number)
            answer(line, args.task, grounder, folder, args.json)
    return OK


class Answering(Asked, Protocol):
    """What a line is put to: a Grounder, or a Session."""

    def ask(self, question: str, limits: Limits | None = None, task: Task = "find") -> Answer: ...


def answer(
    line: str, task: Task, to: Answering, folder: Path | None, as_json: bool, command: str = "chat"
) -> Answer | None:
    """Answer one line; an error is said (then there is no answer), and the next question may do better."""
    try:
        question, task = _command(line, task)
        found = to.ask(question, task=task)
        _say(found, as_json)
        if folder is not None:
            save(folder, found, to)
    except SceneR1Error as error:
        print(f"scene-r1 {command}: {error}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": type(error).__name__, "reason": str(error)}), flush=True)
        return None
    return found


def _say(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.to_json()), flush=True)
    else:
        say(answer)
        sys.stdout.flush()


def _command(line: str, task: Task) -> tuple[str, Task]:
    """(question, task) of a line. Raises BadQuestion for a command that there is not."""
    if not line.startswith("/"):
        return line, task
    word, _, question = line.partition(" ")
    if word != IN_WORDS:
        raise BadQuestion(f"there is no {word[:40]!r} here: ask a question, or '{IN_WORDS} QUESTION' for words")
    return question, "vqa"


def questions(prompt: str = "? ") -> Iterator[str]:
    """Lines of standard input that have something in them; the prompt is shown when a person is there."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a byte that is no text is refused with its question
    asks = sys.stdin.isatty() and sys.stderr.isatty()
    while True:
        if asks:
            print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline(MOST_CHARACTERS)
        if not line:
            return
        rest = line
        while len(rest) == MOST_CHARACTERS and not rest.endswith("\n"):  # of a line that is far too long
            rest = sys.stdin.readline(MOST_CHARACTERS)
        if line.strip():
            yield line.strip()
