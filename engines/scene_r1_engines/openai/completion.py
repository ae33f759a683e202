"""What a server answers to a chat completion, taken apart without trusting it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scene_r1_engines.errors import BadAnswer

UNKNOWN = 0.5
"""The confidence where the server gives no probabilities."""
LEAST = 1e-6
"""The confidence is never 0 where there is an answer."""
MOST_TEXT = 64 << 10
"""Characters of what a model wrote in at most 4096 tokens."""


@dataclass(frozen=True, slots=True)
class Token:
    """The UTF-8 that a token writes, mostly but not always whole characters, and the natural logarithm of its
    probability."""

    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Completion:
    """text: all that the model wrote. cut: it ran out of tokens. thought: what the server itself told apart as
    thinking, mostly "". tokens: of `text`, empty where the server gives none. prompt_tokens, generated_tokens: as the
    server counts, 0 where it does not."""

    text: str
    cut: bool
    thought: str = ""
    tokens: tuple[Token, ...] = ()
    prompt_tokens: int = 0
    generated_tokens: int = 0

    def confidence(self, start: int, end: int) -> float:
        """The geometric mean of the probabilities of the tokens that wrote text[start:end], above 0; UNKNOWN where
        the server gives none, or gives others than it wrote."""
        whole, part = b"".join(token.data for token in self.tokens), self.text[start:end].encode()
        # Looked for, from the end, and not counted off: some servers leave half characters or special tokens out.
        first = whole.rfind(part)
        if first < 0 or not part:
            return UNKNOWN
        last, at = first + len(part), 0
        logprobs = []
        for token in self.tokens:
            if at < last and at + len(token.data) > first:
                logprobs.append(token.logprob)
            at += len(token.data)
        return max(LEAST, math.exp(sum(logprobs) / len(logprobs))) if logprobs else UNKNOWN


def read_completion(body: bytes, kind: str) -> Completion:
    """The first choice of a server's answer. kind: its content type, for the error.

    Raises BadAnswer, which never quotes the answer: it may hold the question.
    """
    try:
        whole = json.loads(body, parse_constant=_no_number, parse_int=_integer)
    except RecursionError:
        raise BadAnswer("the server's answer is nested too deeply: this is no chat completion") from None
    except ValueError:
        what = ", but a web page" if "html" in kind else ""
        raise BadAnswer(f"the server's answer is not JSON{what}: see url, which mostly ends in /v1") from None
    choices = _at(whole, "choices", list, "the answer")
    if not choices:
        raise BadAnswer("the server's answer has no choices: nothing was written")
    choice = choices[0]
    message = _at(choice, "message", dict, "its choice")
    finish = choice.get("finish_reason")
    if message.get("tool_calls") or message.get("function_call") or finish in ("tool_calls", "function_call"):
        raise BadAnswer("the model called a tool, though it was given none: start the server without tools")
    if finish == "content_filter":
        raise BadAnswer("the server's filter held the answer back")
    text = message.get("content")
    thought = next((t for k in ("reasoning_content", "reasoning") if isinstance(t := message.get(k), str)), "")
    if text is None and finish == "length" and thought:
        text = ""  # all tokens went into thinking that the server tells apart
    if not isinstance(text, str):
        raise BadAnswer(f"the server's message.content must be text, got {_kind(text)}")
    if len(text) > MOST_TEXT or len(thought) > MOST_TEXT:
        raise BadAnswer(f"the model wrote more than {MOST_TEXT} characters: this is no answer")
    usage = whole.get("usage")
    return Completion(
        text.encode("utf-8", "replace").decode(),  # half a surrogate pair could never be printed
        finish == "length",
        thought.encode("utf-8", "replace").decode().strip(),
        _tokens(choice.get("logprobs")),
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
    )


def _at(value: object, key: str, kind: type, what: str) -> Any:
    found = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping) and isinstance(found, kind):
        return found
    held = f"has {_kind(found)} as {key}" if isinstance(value, Mapping) and key in value else f"has no {key}"
    raise BadAnswer(f"the server's answer is no chat completion: {what} {held}")


def _tokens(logprobs: object) -> tuple[Token, ...]:
    """The tokens with their probabilities; none where one of them is not as it should be."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    tokens = []
    for one in content if isinstance(content, list) else ():
        text = one.get("token") if isinstance(one, Mapping) else None
        logprob = one.get("logprob") if isinstance(one, Mapping) else None
        if not isinstance(text, str) or not isinstance(logprob, int | float) or isinstance(logprob, bool):
            return ()
        if not logprob <= 1e-3:  # rounding may lift it a little above 0; NaN is refused here too
            return ()
        tokens.append(Token(_data(one.get("bytes"), text), min(0.0, float(max(logprob, -1e4)))))
    return tuple(tokens)


def _data(given: object, text: str) -> bytes:
    """A token's bytes, as the server gives them; of its text where it gives none."""
    if isinstance(given, list) and all(type(one) is int and 0 <= one < 256 for one in given):
        return bytes(given)
    return text.encode("utf-8", "replace")


def _count(usage: object, key: str) -> int:
    count = usage.get(key) if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 1 << 31 else 0


def _no_number(word: str) -> None:
    """NaN and Infinity are no JSON; some servers write them as probabilities."""


def _integer(digits: str) -> int:
    if len(digits) > 20:  # some Pythons take minutes for a million of them
        raise ValueError
    return int(digits)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text"}
    return {**names, list: "a list", dict: "an object"}.get(type(value), type(value).__name__)
