"""What `ask` and `chat` share: their options, the recording that is watched, and the answer as people read it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer
from scene_r1.cli.locate import SEGMENTER_HELP, say_box, say_engines, write
from scene_r1.cli.progress import progress
from scene_r1.config import Config, load_config, with_options
from scene_r1.drawing import contact_sheet
from scene_r1.frame import RgbdFrame
from scene_r1.grounder import TASKS, Grounder
from scene_r1.memory import Keyframe
from scene_r1.reasoner_config import ISOLATIONS
from scene_r1.sources import FrameSource
from scene_r1_engines.errors import BadConfig
from scene_r1_engines.nano import NANO, nano_model
from scene_r1_engines.reasoner import REASONERS

Table = TypeVar("Table")

SERVER_ONLY = ("url", "model_name", "api_key_env")
DEVICE_ONLY = ("model", "cache", "threads", "gpu_layers", "isolation")
"""Options that one reasoner has and the other has not."""
NANO_ANSWERS = "model: Scene-R1 nano, trained on synthetic rooms only; --model FOLDER for another"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every option but the recording and the question."""
    parser.add_argument("--model", metavar="DIR", help="folder of the model (default nano: the one that is here)")
    parser.add_argument("--task", choices=TASKS, default="find", help="find a thing, or answer in words (default find)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--out", metavar="DIR", help="write answer.json, object.ply, picture.png and config.toml there")
    thinking = parser.add_mutually_exclusive_group()
    thinking.add_argument("--no-think", action="store_true", help="answer without thinking first")
    thinking.add_argument("--think-tokens", type=int, metavar="N", help="tokens the model may think (default 256)")
    parser.add_argument("--think-seconds", type=float, metavar="S", help="seconds the model may think (default 20)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="tokens of one answer of the model (default 512)")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds for a whole question (default 300)")
    parser.add_argument("--keyframes", "-k", type=int, metavar="K", help="keyframes to hold (default 16)")
    parser.add_argument("--image-pixels", type=int, metavar="N", help="pixels of a keyframe as the model sees it")
    parser.add_argument("--gpu-layers", type=int, metavar="N", help="layers on the GPU, -1 = all (default -1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the model (default: all cores but one)")
    parser.add_argument("--cache", metavar="DIR", help="keep what the model has seen there between runs")
    parser.add_argument("--isolation", choices=ISOLATIONS, help="where the model runs (default process: its own)")
    parser.add_argument("--reasoner", choices=sorted(REASONERS), help="engine that is asked (default llama_cpp)")
    parser.add_argument("--url", help="with --reasoner openai: the server, such as http://127.0.0.1:8000/v1")
    parser.add_argument("--model-name", metavar="NAME", help="with --reasoner openai: the model as the server names it")
    parser.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the server's key")
    parser.add_argument("--segmenter", metavar="NAME|DIR", help=SEGMENTER_HELP)
    parser.add_argument("--config", metavar="FILE", help="settings in TOML")


def effective(args: argparse.Namespace) -> Config:
    """The settings of the file with what the command line says in their place. Raises BadConfig, also for options of
    another reasoner than the one that is asked."""
    config = with_options(load_config(args.config), args.keyframes, args.segmenter)
    server = _with(config.reasoner.server, {"url": args.url, "model": args.model_name, "api_key_env": args.api_key_env})
    reasoner = _with(
        config.reasoner,
        {
            "name": args.reasoner,
            "isolation": args.isolation,
            "image_pixels": args.image_pixels,
            "gpu_layers": args.gpu_layers,
            "threads": args.threads,
            "cache": args.cache,
            "server": server,
        },
    )
    for option in SERVER_ONLY if reasoner.name != "openai" else DEVICE_ONLY:
        if getattr(args, option) is not None:
            raise BadConfig(
                f"--{option.replace('_', '-')} does nothing with the reasoner {reasoner.name}: leave it out"
            )
    limits = _with(
        config.limits,
        {
            "max_tokens": args.max_tokens,
            "think_tokens": 0 if args.no_think else args.think_tokens,
            "think_s": args.think_seconds,
            "timeout_s": args.timeout,
        },
    )
    return replace(config, reasoner=reasoner, limits=limits)


def model_of(args: argparse.Namespace, config: Config) -> str | None:
    """The model that was named, for `open_grounder`. That it is nano is said on stderr: it knows synthetic rooms alone.

    Raises BadModelFile where that is not there.
    """
    named: str | None = args.model
    if config.reasoner.name != "openai" and named in (None, NANO):
        nano_model()
        print(NANO_ANSWERS, file=sys.stderr)
    return named


def watch(source: FrameSource, grounder: Grounder) -> int | None:
    """Stream a recording, then wait until the model has seen its keyframes. Raises BadRecording as the source does.

    Returns the timestamp_ns of the first frame, which is 0 s; None where there is no frame.
    """
    start, start_ns = time.monotonic(), None
    with progress("reading", source.info.frames) as advance:
        for frame in source.frames():
            start_ns = frame.timestamp_ns if start_ns is None else start_ns
            grounder.take(frame)
            advance()
    with progress("the model looks at the keyframes", None, "wait") as waited:
        done = grounder.end(time.monotonic_ns() + round(grounder.config.limits.settle_s * 1e9), waited)
    frames, spent_s = grounder.selector.counters.offered, time.monotonic() - start
    state = "" if done else ", not all of them seen by the model"
    print(f"watched {frames} frames in {spent_s:.1f} s, {len(grounder.memory)} keyframes{state}", file=sys.stderr)
    return start_ns


def say(answer: Answer) -> None:
    """The answer for people, on stdout."""
    if answer.status.value == "ok" and answer.box_3d is None:
        print(f"{'ok':<9} {printable(answer.answer)}")
    else:
        say_box(answer)
        if answer.answer:
            print(f"{'label':<9} {printable(answer.answer)}")
    if answer.rationale:
        print(f"{'thought':<9} {printable(answer.rationale)}")
    if answer.window_s is not None:
        print(f"{'window':<9} {answer.window_s[0]:g} s to {answer.window_s[1]:g} s")
    for box in answer.boxes_2d:
        corners = " ".join(f"{v:.0f}" for v in box.xyxy)
        print(f"{'2D box':<9} frame {box.frame}: {corners} {printable(box.label)}")
    print(f"confidence {answer.confidence or 0.0:.2f}")
    say_engines(replace(answer, engine={role: printable(name) for role, name in answer.engine.items()}))
    for stage, ms in answer.timings_ms.items():
        indent = "  " if "." in stage else ""
        print(f"{'time':<9} {indent}{stage:<18} {ms:10.1f} ms")


class Asked(Protocol):
    """What an answer came from: a Grounder, or a Session. frames: of the answer's evidence, in its order."""

    config: Config

    @property
    def keyframes(self) -> tuple[Keyframe, ...]: ...

    def frames(self, answer: Answer) -> list[RgbdFrame]: ...


def save(folder: Path, answer: Answer, asked: Asked) -> None:
    """The answer's files, each whole or absent; without evidence the picture shows the keyframes, and where there is
    none of them either there is no picture."""

    keyframes = asked.keyframes

    def sheet() -> NDArray[np.uint8]:
        shown = [keyframe.frame() for keyframe in keyframes]
        return contact_sheet(shown, [f"frame {frame.index}" for frame in shown])

    write(folder, answer, asked.frames(answer), asked.config, "picture.png", sheet if keyframes else None)


def printable(text: str) -> str:
    """What a model wrote, on one line and without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _with(table: Table, given: Mapping[str, Any]) -> Table:
    """A table of the settings with those values in it that were given."""
    named = {name: value for name, value in given.items() if value is not None}
    return replace(table, **named)  # type: ignore[type-var]
