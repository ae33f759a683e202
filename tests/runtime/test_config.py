"""Settings: defaults, a TOML file, what it refuses, and the effective settings beside results."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scene_r1.config import (
    Config,
    KeyframesConfig,
    MemoryConfig,
    SegmenterConfig,
    as_dict,
    config_from,
    config_to_toml,
    load_config,
    save_config,
)
from scene_r1.frame import DepthRange
from scene_r1.keyframes import KeyframeSelector, ObservationSettings, SelectionSettings
from scene_r1.lift import LiftSettings
from scene_r1.memory import SceneMemory
from scene_r1_engines.errors import BadConfig, OutputExists, SceneR1Error
from scene_r1_engines.segmenter import ModelSettings, open_segmenter
from scene_r1_engines.settings_file import MAX_BYTES, MAX_LINE, settings_from, to_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def loaded(folder: Path, text: str | bytes) -> Config:
    path = folder / "edge.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def refusal(folder: Path, text: str | bytes) -> str:
    """What is said about a file that is refused: one line that names the file."""
    with pytest.raises(BadConfig) as refused:
        loaded(folder, text)
    said = str(refused.value)
    assert said.startswith(str(folder / "edge.toml"))
    assert "\n" not in said
    assert len(said) < 600
    return said.replace(str(folder / "edge.toml"), "FILE")


def test_without_a_file_everything_has_its_default() -> None:
    config = load_config(None)
    assert config == Config()
    assert config.keyframes.selection == SelectionSettings()
    assert config.keyframes.observation == ObservationSettings()
    assert config.lift == LiftSettings()
    selector, memory = KeyframeSelector(), SceneMemory()
    assert config.keyframes.k == selector.k
    assert (config.memory.max_bytes, config.memory.jpeg_quality) == (memory.max_bytes, memory.jpeg_quality)
    with open_segmenter(config.segmenter.name) as segmenter:
        assert segmenter.name == config.segmenter.name


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == Config()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        [keyframes]
        k = 8
        selection = { c = 0.1 }
        [keyframes.observation]
        full_range_m = [1, 2.5]
        [memory]
        jpeg_quality = "none"
        [lift.depth_range]
        far_m = 4
        """,
    )
    default = Config()
    assert config == replace(
        default,
        keyframes=KeyframesConfig(8, SelectionSettings(c=0.1), ObservationSettings(full_range_m=(1.0, 2.5))),
        memory=MemoryConfig(jpeg_quality=None),
        lift=replace(default.lift, depth_range=DepthRange(far_m=4.0)),
    )
    assert all(type(v) is float for v in (*config.keyframes.observation.full_range_m, config.lift.depth_range.far_m))


def leaves(value: Any, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for one in fields(value):
        inner = getattr(value, one.name)
        found += leaves(inner, (*at, one.name)) if is_dataclass(inner) else [((*at, one.name), inner)]
    return found


@pytest.mark.parametrize("place", [place for place, _ in leaves(Config())], ids=".".join)
def test_every_setting_is_written_and_a_wrong_type_of_it_is_refused_with_its_line(
    place: tuple[str, ...], tmp_path: Path
) -> None:
    table = config_to_toml(Config()).split(f"[{'.'.join(place[:-1])}]\n")[1].split("\n\n")[0]
    assert any(line.startswith(f"{place[-1]} = ") for line in table.splitlines())
    said = refusal(tmp_path, f"\n[{'.'.join(place[:-1])}]\n# a comment\n{place[-1]} = 1979-05-27\n")
    assert said.startswith(f"FILE, line 4: {'.'.join(place)} must be ")
    assert "got datetime.date(1979, 5, 27)" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[keyframes]\nk = "16"', "FILE, line 2: keyframes.k must be a whole number, got '16'"),
        ("[keyframes]\nk = 16.0", "FILE, line 2: keyframes.k must be a whole number, got 16.0"),
        ("[keyframes]\nk = true", "FILE, line 2: keyframes.k must be a whole number, got true"),
        ("keyframes.k = [16]", "FILE, line 1: keyframes.k must be a whole number, got [16]"),
        ("[keyframes]\nk = 0x" + "f" * 99, "keyframes.k must be a whole number, got a whole number of more than 64"),
        ("[lift]\nnoise = false", "FILE, line 2: lift.noise must be a finite number, got false"),
        ("[lift]\nnoise = nan", "lift.noise must be a finite number, got nan"),
        ("[lift]\nnoise = inf", "lift.noise must be a finite number, got inf"),
        ("[lift]\nvoxel_m = 0.01", "lift.voxel_m must be an array of 2"),
        ("[lift]\nvoxel_m = [0.01]", "lift.voxel_m must be an array of 2"),
        ("[lift]\nvoxel_m = [0.01, '0.02']", "lift.voxel_m must be an array of 2"),
        ("[lift]\nvoxel_m = [0.01, inf]", "lift.voxel_m must be an array of 2"),
        ("[memory]\njpeg_quality = 'None'", "jpeg_quality must be a whole number or \"none\", got 'None'"),
        ("[segmenter]\nname = 3", "segmenter.name must be a string, got 3"),
        ("keyframes = 3", "FILE, line 1: keyframes must be a table, got 3"),
        ("[[keyframes]]\nk = 1", "FILE, line 1: keyframes must be a table, got [{'k': 1}]"),
        ("[keyframes.k]\nx = 1", "FILE, line 1: keyframes.k must be a whole number, got a table"),
    ],
)
def test_a_wrong_type_is_refused_saying_which_setting_what_it_wants_and_what_it_got(
    text: str, says: str, tmp_path: Path
) -> None:
    assert says in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[keyframe]\nk = 1", "FILE, line 1: keyframe is no setting; did you mean keyframes?"),
        ("[keyframes.observation]\n\nvoxel = 1", "line 3: keyframes.observation.voxel is no setting; did you mean vo"),
        ("[memory]\nmaxbytes = 1", "FILE, line 2: memory.maxbytes is no setting; did you mean max_bytes?"),
        (
            "[lift]\ndepth_range = { near = 1 }",
            "FILE, line 2: lift.depth_range.near is no setting; did you mean near_m?",
        ),
        ("k = 3", "FILE, line 1: k is no setting; did you mean keyframes.k?"),
        ("[observation]", "FILE, line 1: observation is no setting; did you mean keyframes.observation?"),
        ("qqq = 3", "line 1: qqq is no setting; known here: keyframes, memory, lift, segmenter, reasoner, limits"),
        ('"a\\nb" = 3', "'a\\nb' is no setting"),
        ('"" = 3', "'' is no setting"),
        ("[segmenter]\nname = 'depthcut'", "there is no segmenter 'depthcut'; did you mean depth_cut?"),
    ],
)
def test_an_unknown_name_is_refused_with_its_line_and_the_nearest_known_one(
    text: str, says: str, tmp_path: Path
) -> None:
    assert says in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[keyframes]\nk = 0", "FILE, line 1: keyframes: k must be in 1..1024"),
        ("[keyframes.selection]\nc = 0.9", "FILE, line 1: keyframes.selection: c must not exceed c_at_once"),
        ("[keyframes.selection]\nvoxel_capacity = 1", "selection.voxel_capacity in 64.."),
        ("[keyframes]\nk = 1024\nselection.voxel_capacity = 16777216", "together take 33152 MB"),
        ("[keyframes.observation]\nnear_m = 9", "keyframes.observation: ranges must grow"),
        ("[memory]\njpeg_quality = 0", "FILE, line 1: memory: jpeg_quality must be in 1..100"),
        ("[memory]\nmax_bytes = -1", "FILE, line 1: memory: max_bytes must be above 0"),
        ("[memory]\nmax_bytes = 20000", "memory.max_bytes = 20000 cannot hold keyframes.k = 16"),
        ("[lift]\nagreement = 0", "FILE, line 1: lift: agreement in (0, 1]"),
        ("[lift.depth_range]\nfar_m = 0.1", "FILE, line 1: lift.depth_range: a depth range needs 0 < near_m < far_m"),
    ],
)
def test_values_that_are_impossible_or_contradict_each_other_are_refused(text: str, says: str, tmp_path: Path) -> None:
    assert says in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[keyframes]\nk = 1\nk = 2", "FILE: is not TOML: Cannot overwrite a value"),
        ("[keyframes\nk = 1", "FILE: is not TOML: "),
        ("k = ", "FILE: is not TOML: Invalid value (at "),
        ("\0", "FILE: is not TOML: "),
        ("k = " + "[" * 900, "nested too deeply"),
        ("k = " + "9" * 990, "is no setting"),
        ("k = [\n" + ("9" * 900 + "\n") * 6 + "]", "FILE: is not TOML: "),
        ("k = 1979-13-45", "FILE: is not TOML: "),
        ("# " + "x" * MAX_LINE, "FILE, line 1: has 1002 characters, more than 1000"),
        ("[keyframes]\n" + "a." * 20_000 + "a = 1", "FILE, line 2: has 40005 characters, more than 1000"),
        ("#\n" * MAX_BYTES, f"FILE: has more than {MAX_BYTES} bytes"),
        (b"\xff\xfe[\0k\0]\0", "FILE: is not UTF-8 text (byte 0): save it as UTF-8"),
        (b"[keyframes]\n# \xe9\n", "FILE: is not UTF-8 text (byte 14)"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) < 60 else "long",
)
def test_what_is_no_file_of_settings_is_refused_before_anything_is_made_of_it(
    text: str | bytes, says: str, tmp_path: Path
) -> None:
    assert says in refusal(tmp_path, text)


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"\xef\xbb\xbf[keyframes]\r\nk = 3\r\n").keyframes.k == 3


def test_a_file_of_gigabytes_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    with open(path, "wb") as file:
        file.truncate(8 << 30)  # sparse: takes no room
    with pytest.raises(BadConfig, match=f"more than {MAX_BYTES} bytes"):
        load_config(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "loop", "long"])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "settings"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "long":
        path = tmp_path / ("x" * 5000)
    with pytest.raises(BadConfig) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "name a TOML file" in str(refused.value)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(BadConfig, match="name a TOML file"):
        load_config("a\0b")


numbers = st.floats(0.0, 1e6, allow_nan=False)
ranges = st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)).filter(lambda r: r[0] < r[1])
configs = st.builds(
    Config,
    keyframes=st.builds(
        KeyframesConfig,
        k=st.integers(1, 256),
        selection=st.builds(
            lambda a, b, **rest: SelectionSettings(c=min(a, b), c_at_once=max(a, b), **rest),
            numbers, numbers, patience=st.integers(1, 1 << 40), fill=numbers,
            swaps_per_1000=st.none() | st.floats(1e-9, 1e9),
        ),
        observation=st.builds(ObservationSettings, voxel_m=st.floats(0.01, 1.0), margin=st.floats(0.0, 0.4)),
    ),
    memory=st.builds(
        MemoryConfig, max_bytes=st.integers(1 << 20, 1 << 40), jpeg_quality=st.none() | st.integers(1, 100)
    ),
    lift=st.builds(
        LiftSettings,
        agreement=st.floats(1e-300, 1.0),
        voxel_m=st.tuples(st.floats(1e-3, 1.0), st.floats(1.0, 1e300)),
        depth_range=ranges.map(lambda r: DepthRange(*r)),
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(config=configs)
def test_written_settings_read_back_equal_to_the_last_bit(config: Config) -> None:
    assert config_from(tomllib.loads(config_to_toml(config)), "text") == config
    assert config_from(as_dict(config), "dictionary") == config


def test_the_effective_settings_are_saved_beside_results(tmp_path: Path) -> None:
    config = Config(keyframes=KeyframesConfig(k=4), memory=MemoryConfig(jpeg_quality=None))
    path = tmp_path / "run" / "config.toml"
    save_config(config, path)
    assert load_config(path) == config
    save_config(Config(), path)
    assert load_config(path) == Config()
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_saving_where_nothing_can_be_written_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputExists):
        save_config(Config(), tmp_path / "taken")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SceneR1Error, match="name another place"):
        save_config(Config(), tmp_path / "file" / "config.toml")
    with pytest.raises(SceneR1Error, match=r"cannot be written .*: name another place"):
        save_config(Config(), tmp_path / ("x" * 300))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken"]
    assert stat.S_ISDIR((tmp_path / "taken").stat().st_mode)


@pytest.mark.parametrize(
    "mapping",
    [
        {1: 2},
        {"keyframes": None},
        {"keyframes": {"k": None}},
        {"keyframes": {"k": 10**5000}},
        {"lift": {"noise": 10**400}},
    ],
    ids=["key", "table", "none", "int", "float"],
)
def test_mappings_from_code_are_checked_like_files(mapping: Any) -> None:
    with pytest.raises(BadConfig, match=r"^here: "):
        config_from(mapping, "here")


@dataclass(frozen=True, slots=True)
class Inner:
    flag: bool = False
    text: str = ""
    limit: float | None = 1.0


@dataclass(frozen=True, slots=True)
class Outer:
    needed: int
    pair: tuple[int, str] = (0, "")
    inner: Inner = field(default_factory=Inner)


@settings(max_examples=60, deadline=None)
@given(
    outer=st.builds(
        Outer,
        needed=st.integers(-(1 << 63), (1 << 63) - 1),
        pair=st.tuples(st.integers(-9, 9), st.text(max_size=20)),
        inner=st.builds(
            Inner, st.booleans(), st.text(max_size=20), st.none() | st.floats(allow_nan=False, allow_infinity=False)
        ),
    )
)
def test_flags_and_any_text_survive_being_written(outer: Outer) -> None:
    back = settings_from(Outer, tomllib.loads(to_toml(outer)), "text")
    assert back == outer


def test_a_flag_is_no_number_and_a_number_no_flag() -> None:
    with pytest.raises(BadConfig, match=r"here: inner\.flag must be true or false, got 1"):
        settings_from(Outer, {"needed": 1, "inner": {"flag": 1}}, "here")
    with pytest.raises(BadConfig, match="here: needed must be a whole number, got true"):
        settings_from(Outer, {"needed": True}, "here")


def test_a_setting_without_a_default_must_be_given() -> None:
    with pytest.raises(BadConfig, match="here: needed is missing"):
        settings_from(Outer, {}, "here")


words = st.sampled_from(
    ["[", "]", "keyframes", "k", "=", "1", "\n", ".", '"', "{", "}", ",", "lift", "nan", "none", "#", " ", "é", "-"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(words, max_size=30).map("".join) | st.text(max_size=60))
def test_whatever_a_file_holds_it_is_a_config_or_one_typed_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fuzz.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        config = load_config(path)
    except BadConfig as error:
        said = str(error)
    else:
        assert config_from(as_dict(config), "again") == config
        return
    assert said.startswith(str(path))
    assert "\n" not in said


def test_the_default_segmenter_is_one_that_is_known() -> None:
    with pytest.raises(BadConfig, match=r"known here|did you mean"):
        SegmenterConfig("surely none")
    assert SegmenterConfig().name == "depth_cut"
    assert SegmenterConfig().model() == ModelSettings()
