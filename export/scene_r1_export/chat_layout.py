"""Whether a checkpoint's chat template says what the engine will say: ChatML, with pictures between vision tokens."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile, MissingExtra
from scene_r1_engines.manifest import MOST_PROMPT, system_block
from scene_r1_export.checkpoint import Checkpoint

RENDER = Path(__file__).with_name("chat_render.py")
SECONDS = 60
"""On the clock; the program itself stops after 3 s of computing."""
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
SYSTEM = "You find things in rooms."
SAID = ("t = 0.0 s: ", "t = 2.5 s: ", "\nWhere is the mug?\n  Say it in {pixels}. ")
USER = f"<|im_start|>user\n{SAID[0]}{PICTURE}{SAID[1]}{PICTURE}{SAID[2]}<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True, slots=True)
class ChatLayout:
    """system: what the template says before a conversation that has no system message, "" for nothing. sha256: of the
    template's UTF-8 text."""

    system: str
    sha256: str


def check_chat_layout(checkpoint: Checkpoint) -> ChatLayout:
    """Render the checkpoint's template for a system message, pictures and text, and compare with the engine's layout.

    Raises BadModelFile showing the first difference, or for a template that is missing, broken or endless.
    """
    path, template = _template(checkpoint)
    pictures = [{"type": "text", "text": SAID[0]}, {"type": "image"}, {"type": "text", "text": SAID[1]}]
    user = {"role": "user", "content": [*pictures, {"type": "image"}, {"type": "text", "text": SAID[2]}]}
    with_system, without = _rendered(path, template, [[{"role": "system", "content": SYSTEM}, user], [user]])
    _check(path, with_system, system_block(SYSTEM) + USER)
    head = without[: -len(USER)] if without.endswith(USER) else ""
    found = re.fullmatch(r"<\|im_start\|>system\n(.*?)<\|im_end\|>\n", head, re.DOTALL)
    system = found[1] if found else ""
    _check(path, without, system_block(system) + USER)
    if len(system) > MOST_PROMPT or "<|im_" in system:
        raise BadModelFile(path, f"the chat template's own system message is too long or nested: {system[:80]!r}")
    return ChatLayout(system, hashlib.sha256(template.encode()).hexdigest())


def _template(checkpoint: Checkpoint) -> tuple[Path, str]:
    """Where it is and what it says; a file of its own is newer than one inside another."""
    if "chat_template.jinja" in checkpoint.files:
        path = checkpoint.files["chat_template.jinja"]
        try:
            return path, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadModelFile(path, f"cannot be read: {str(error)[:200]}") from None
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = checkpoint.json(name).get("chat_template")
        if isinstance(template, list):  # several by name
            named = [one for one in template if isinstance(one, dict) and one.get("name") == "default"]
            template = named[0].get("template") if named else None
        if isinstance(template, str):
            return checkpoint.folder / name, template
    raise BadModelFile(checkpoint.folder, "has no chat template (chat_template.jinja or in tokenizer_config.json)")


def _rendered(path: Path, template: str, conversations: list[list[dict[str, Any]]]) -> list[str]:
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtra("export", "rendering a chat template", "no module jinja2")
    task = json.dumps({"template": template, "conversations": conversations})
    try:
        done = subprocess.run(
            [sys.executable, os.fspath(RENDER)],
            input=task,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadModelFile(path, f"the chat template does not end within {SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        why = lines[-1][:200] if lines else f"stopped by signal {-done.returncode}: it takes too long"
        raise BadModelFile(path, f"the chat template cannot be rendered: {why}")
    rendered: list[str] = json.loads(done.stdout)
    return rendered


def _check(path: Path, got: str, expected: str) -> None:
    if got == expected:
        return
    at = next((n for n, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), min(len(got), len(expected)))
    raise BadModelFile(
        path,
        f"the chat template does not render as the engine writes, from character {at}: the engine writes "
        f"{expected[at : at + 60]!r}, the template {got[at : at + 60]!r}; such a model would be asked in words that it "
        "was not trained on",
    )
