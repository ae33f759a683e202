"""A manifest says everything that is needed, in its bounds, and what is wrong with one is named with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.manifest import (
    MANIFEST,
    ImageRules,
    Manifest,
    ModelFile,
    PromptRules,
    TimeRules,
    manifest_to_toml,
    read_manifest,
)

TEXT = ModelFile("text-Q4_K_M.gguf", "a" * 64, 1 << 31, "Q4_K_M", "token_embd=q8_0")
WHOLE = Manifest(
    format=1,
    name="tiny",
    family="qwen2_5_vl",
    license="apache-2.0",
    source_sha256="c" * 64,
    made_by="a test",
    mmproj_for_sha256=TEXT.sha256,
    text=TEXT,
    mmproj=ModelFile("mmproj-F16.gguf", "b" * 64, 1 << 30, "F16"),
    image=ImageRules(28, 28 * 28, 448 * 448, "abs_resized", 224 * 224),
    prompt=PromptRules("d" * 64, "qwen2", where='Find "{question}".\nAnswer in JSON.'),
    time=TimeRules("video", tokens_per_second=4.0),
)
PATHS = [
    "../x",
    "..",
    ".",
    "",
    ".hidden",
    "/etc/passwd",
    "a/b.gguf",
    "a\\b.gguf",
    "~/x.gguf",
    "~root",
    "a\0.gguf",
    "a\nb.gguf",
    "-rf.gguf",
    "${HOME}.gguf",
    "C:x.gguf",
    "mödel.gguf",
    "a.gguf ",
    "a" * 129,
    "x" * 4096,
]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / MANIFEST).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def _required(kind: type, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The place of every field without a default, and of every table that holds one."""
    places = []
    hints = get_type_hints(kind)
    for one in fields(kind):
        hint: Any = hints[one.name]
        if one.default is MISSING and one.default_factory is MISSING:
            places.append((*at, one.name))
        if is_dataclass(hint):
            places += _required(hint, (*at, one.name))  # type: ignore[arg-type]
    return places


def _tables(text: str) -> list[list[str]]:
    """The lines of each table, the top first."""
    return [part.split("\n") for part in re.split(r"\n(?=\[)", text)]


def _without(place: tuple[str, ...]) -> str:
    tables = _tables(manifest_to_toml(WHOLE))
    if len(place) == 1 and is_dataclass(getattr(WHOLE, place[0])):
        kept = [table for table in tables if table[0] != f"[{place[0]}]"]
    else:
        header = f"[{place[0]}]" if len(place) == 2 else tables[0][0]
        kept = [
            [line for line in table if table[0] != header or not line.startswith(f"{place[-1]} = ")] for table in tables
        ]
    text = "\n".join("\n".join(table) for table in kept)
    assert text != manifest_to_toml(WHOLE)
    return text


def _with(old: str, new: str) -> str:
    text = manifest_to_toml(WHOLE)
    assert text.count(old) >= 1
    return text.replace(old, new, 1)


def test_a_manifest_is_read_back_as_it_was_written(folder: Callable[[str], Path]) -> None:
    assert read_manifest(folder(manifest_to_toml(WHOLE))) == WHOLE
    plain = replace(WHOLE, time=TimeRules(), image=replace(WHOLE.image, grounding_pixels=None))
    assert read_manifest(folder(manifest_to_toml(plain))) == plain


@pytest.mark.parametrize("place", _required(Manifest), ids=".".join)
def test_a_missing_field_is_named(place: tuple[str, ...], folder: Callable[[str], Path]) -> None:
    where = folder(_without(place))
    with pytest.raises(BadModelFile, match=re.escape(".".join(place)) + r"\b.*is missing") as caught:
        read_manifest(where)
    assert caught.value.path == str(where / MANIFEST)


def test_the_time_rules_have_a_default(folder: Callable[[str], Path]) -> None:
    assert read_manifest(folder(_without(("time",)))).time == TimeRules()


@pytest.mark.parametrize(
    ("old", "new", "line", "hint"),
    [
        ("license = ", "licence = ", 5, "did you mean license?"),
        ("sha256 = ", "sha265 = ", None, "did you mean"),
        ("\n[image]\n", '\n[image]\nfps = "2"\n', None, "image.fps is no setting"),
        ("\n[time]\n", "\n[clock]\n", None, "clock is no setting"),
        ("format = 1", 'format = 1\nexec = "rm"', 3, "exec is no setting"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_one(
    old: str, new: str, line: int | None, hint: str, folder: Callable[[str], Path]
) -> None:
    with pytest.raises(BadModelFile, match=re.escape(hint)) as caught:
        read_manifest(folder(_with(old, new)))
    assert re.match(rf"line {line if line else '[0-9]+'}: ", caught.value.reason)


@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name[:16]))
def test_a_file_is_a_plain_name_of_the_folder(name: str, folder: Callable[[str], Path]) -> None:
    with pytest.raises(BadConfig, match="plain file name"):
        replace(TEXT, file=name)
    text = manifest_to_toml(WHOLE)
    quoted = "".join(c if " " <= c <= "~" and c not in '\\"' else f"\\u{ord(c):04x}" for c in name)
    text = text.replace(f'"{TEXT.file}"', f'"{quoted}"')
    with pytest.raises(BadModelFile, match=r"plain file name|more than"):
        read_manifest(folder(text))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("format = 1", "format = 2", "another version of scene-r1-export"),
        ('family = "qwen2_5_vl"', 'family = "gemma"', "family must be one of"),
        (f'mmproj_for_sha256 = "{"a" * 64}"', f'mmproj_for_sha256 = "{"e" * 64}"', "belongs to another model"),
        (f'\nsha256 = "{"a" * 64}"', f'\nsha256 = "{"A" * 64}"', "lower-case hex"),
        (f'\nsha256 = "{"a" * 64}"', f'\nsha256 = "{"a" * 63}"', "lower-case hex"),
        (f'\nsha256 = "{"a" * 64}"', f'\nsha256 = "{"a" * 64}\\n"', "lower-case hex"),
        ("bytes = 2147483648", "bytes = 0", "bytes must be the file's size"),
        ("bytes = 2147483648", "bytes = -1", "bytes must be the file's size"),
        ("bytes = 2147483648", "bytes = 2147483648.0", "whole number"),
        ("bytes = 2147483648", "bytes = 9223372036854775807", "bytes must be the file's size"),
        ("bytes = 2147483648", "bytes = 99999999999999999999", "whole number"),
        ('"mmproj-F16.gguf"', '"text-Q4_K_M.gguf"', "are the same file"),
        ("patch_multiple = 28", "patch_multiple = 0", "patch_multiple must be in"),
        ("patch_multiple = 28", "patch_multiple = true", "whole number"),
        ("min_pixels = 784", "min_pixels = 783", "min_pixels"),
        ("max_pixels = 200704", "max_pixels = 700", "max_pixels"),
        ("max_pixels = 200704", "max_pixels = 67108865", "max_pixels"),
        ('"abs_resized"', '"pixels"', "box_space must be one of"),
        ("grounding_pixels = 50176", "grounding_pixels = 783", "grounding_pixels must lie between"),
        ('encoding = "video"', 'encoding = "clock"', "encoding must be one of"),
        ("{seconds:.1f}", "{seconds.__class__}", "one {seconds}"),
        ("{seconds:.1f}", "{seconds:>999999999.1f}", "one {seconds}"),
        ("{seconds:.1f}", "{seconds}{seconds}", "one {seconds}"),
        ("{seconds:.1f}", "now", "one {seconds}"),
        ("tokens_per_second = 4.0", "tokens_per_second = 0", "tokens_per_second must be above 0"),
        ("tokens_per_second = 4.0", "tokens_per_second = nan", "finite"),
        ("tokens_per_second = 4.0", "tokens_per_second = inf", "finite"),
        ("{question}", "it", "{question} once"),
        ("{question}", "{question} {question}", "{question} once"),
        ("[text]", "[[text]]", "text must be a table"),
        ("[text]", "text", "is not TOML"),
    ],
)
def test_an_impossible_value_is_refused(old: str, new: str, reason: str, folder: Callable[[str], Path]) -> None:
    with pytest.raises(BadModelFile, match=re.escape(reason)):
        read_manifest(folder(_with(old, new)))


def test_the_error_names_file_and_line_once(folder: Callable[[str], Path]) -> None:
    where = folder(_with('box_space = "abs_resized"', "box_space = 7"))
    with pytest.raises(BadModelFile) as caught:
        read_manifest(where)
    line = manifest_to_toml(WHOLE)[: manifest_to_toml(WHOLE).index("box_space")].count("\n") + 1
    assert str(caught.value) == f"{where / MANIFEST}: line {line}: image.box_space must be a string, got 7"


def test_a_folder_without_a_readable_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_manifest(tmp_path / "missing")
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_manifest(f"{tmp_path}\0")
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(BadModelFile, match="not a regular file"):
        read_manifest(tmp_path)


def test_the_time_of_a_picture_is_said_as_the_manifest_has_it() -> None:
    assert TimeRules().said(3.14159) == "t = 3.1 s: "
    assert TimeRules(text="<{seconds:.0f}s>").said(12.6) == "<13s>"
    assert TimeRules(text="{seconds}").said(0.5) == "0.5"
