"""A GGUF header is read as gguf-py and llama.cpp read it, and nothing that is wrong with a file gets past it."""

from __future__ import annotations

import ctypes
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from struct import pack

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.gguf_file import SMALL, TENSOR_TYPES, GgufArray, GgufFile, read_gguf

U8, I32, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 5, 4, 6, 7, 8, 9, 10


def text(value: bytes) -> bytes:
    return pack("<Q", len(value)) + value


def key(name: bytes, type: int, value: bytes) -> bytes:
    return text(name) + pack("<I", type) + value


def array(type: int, length: int, items: bytes) -> bytes:
    return pack("<IQ", type, length) + items


def tensor(name: bytes, shape: tuple[int, ...], type: int, offset: int, dimensions: int | None = None) -> bytes:
    count = len(shape) if dimensions is None else dimensions
    return text(name) + pack(f"<I{len(shape)}QIQ", count, *shape, type, offset)


def file(
    keys: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    data: bytes = b"",
    version: int = 3,
    magic: bytes = b"GGUF",
    key_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    head = magic + pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


ARCHITECTURE = key(b"general.architecture", STRING, text(b"qwen2vl"))
ALIGN_13 = key(b"general.alignment", U32, pack("<I", 13))
ALIGN_SIGNED = key(b"general.alignment", I32, pack("<i", 32))
ALIGN_4 = key(b"general.alignment", U32, pack("<I", 4))
ONE = tensor(b"a", (8,), 0, 0)
"""32 bytes of data."""
HUGE = 2**64 - 1

VALID = file(
    (
        ARCHITECTURE,
        key(b"n", U32, pack("<I", 7)),
        key(b"yes", BOOL, b"\1"),
        key(b"mean", ARRAY, array(F32, 3, pack("<3f", 0.5, 0.25, 1.0))),
        key(b"words", ARRAY, array(STRING, 3, text(b"a") + text(b"") + text("Ġb".encode()))),
        key(b"many", ARRAY, array(U8, SMALL + 1, bytes(SMALL + 1))),
        key(b"many words", ARRAY, array(STRING, SMALL + 1, text(b"xy") * (SMALL + 1))),
        key(b"last", U64, pack("<Q", 1 << 40)),
    ),
    (tensor(b"a", (4, 3), 0, 0), tensor(b"b", (256, 2), 12, 64)),
    bytes(64 + 288),
)

BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "truncated"),
    "bad magic": (file(magic=b"FUGG"), "not a GGUF file"),
    "version 0": (file(version=0), "version 0"),
    "version 1": (file(version=1), "version 1"),
    "future version": (file(version=4), "version 4"),
    "big-endian": (file(version=0x03000000), "big-endian"),
    "header cut short": (file()[:20], "truncated"),
    "too many tensors": (file(tensor_count=HUGE), "tensors"),
    "too many keys": (file(key_count=HUGE), "keys"),
    "keys that are not there": (file(key_count=5), "byte|empty|key"),
    "tensors that are not there": (file(tensor_count=5), "truncated|name"),
    "key length beyond any": (file((pack("<Q", HUGE),)), "bytes long"),
    "key length beyond the file": (file((pack("<Q", 60000),)), "truncated"),
    "empty key": (file((key(b"", U32, pack("<I", 1)),)), "a key is ''"),
    "key with a NUL": (file((key(b"a\0b", U32, pack("<I", 1)),)), "a key is"),
    "key that is not UTF-8": (file((key(b"\xff\xfe", U32, pack("<I", 1)),)), "UTF-8"),
    "unknown type of a value": (file((key(b"k", 13, b"\0"),)), "unknown type 13"),
    "negative type of a value": (file((key(b"k", 0xFFFFFFFF, b"\0"),)), "unknown type"),
    "duplicate key": (file((ARCHITECTURE, ARCHITECTURE)), "twice"),
    "string longer than the file": (file((key(b"k", STRING, pack("<Q", 1 << 20)),)), "truncated"),
    "string longer than any": (file((key(b"k", STRING, pack("<Q", HUGE)),)), "bytes long"),
    "string that is not UTF-8": (file((key(b"k", STRING, text(b"\xc3\x28")),)), "UTF-8"),
    "bool of 2": (file((key(b"k", BOOL, b"\2"),)), "BOOL"),
    "bool of 2 in an array": (file((key(b"k", ARRAY, array(BOOL, 2, b"\1\2")),)), "BOOL"),
    "nested array": (file((key(b"k", ARRAY, array(ARRAY, 1, array(U8, 1, b"\0"))),)), "an array"),
    "array of an unknown type": (file((key(b"k", ARRAY, array(77, 1, b"\0")),)), "unknown"),
    "array longer than the file": (file((key(b"k", ARRAY, array(U8, HUGE, b"")),)), "items"),
    "array whose size overflows": (file((key(b"k", ARRAY, array(U64, 1 << 61, b"")),)), "items"),
    "string array longer than the file": (file((key(b"k", ARRAY, array(STRING, 1 << 40, b"")),)), "items"),
    "string array whose last item leaves the file": (
        file((key(b"k", ARRAY, array(STRING, 2000, text(b"") * 1999 + pack("<Q", HUGE))),)),
        "truncated or states wrong lengths",
    ),
    "string array with a length that leads back": (
        file((key(b"k", ARRAY, array(STRING, 2000, pack("<Q", 2**64 - 8) + text(b"") * 1999)),)),
        "truncated or states wrong lengths",
    ),
    "alignment of 13": (file((ALIGN_13,), (ONE,), bytes(32)), "power of two"),
    "alignment of 4": (file((ALIGN_4,), (ONE,), bytes(32)), "power of two"),
    "alignment of another type": (file((ALIGN_SIGNED,), (ONE,), bytes(32)), "UINT32"),
    "tensor name too long": (file((), (tensor(b"a" * 64, (8,), 0, 0),), bytes(32)), "64 bytes"),
    "tensor without a name": (file((), (tensor(b"", (8,), 0, 0),), bytes(32)), "name"),
    "tensor name with a NUL": (file((), (tensor(b"a\0b", (8,), 0, 0),), bytes(32)), "name"),
    "duplicate tensor": (file((), (ONE, tensor(b"a", (8,), 0, 32)), bytes(64)), "twice"),
    "five dimensions": (file((), (tensor(b"a", (2, 2, 2, 1, 1), 0, 0),), bytes(32)), "5 dimensions"),
    "no dimensions": (file((), (tensor(b"a", (), 0, 0),), bytes(32)), "0 dimensions"),
    "more dimensions than any": (file((), (tensor(b"a", (8,), 0, 0, 0xFFFFFFFF),), bytes(32)), "dimensions"),
    "negative extent": (file((), (tensor(b"a", (HUGE,), 0, 0),), bytes(32)), "shape"),
    "extent of zero": (file((), (tensor(b"a", (8, 0), 0, 0),), bytes(32)), "shape"),
    "elements that overflow": (file((), (tensor(b"a", (1 << 33, 1 << 33), 0, 0),), bytes(32)), "shape"),
    "bytes that overflow": (file((), (tensor(b"a", (1 << 31, 1 << 31), 27, 0),), bytes(32)), "shape"),
    "bytes that wrap when padded": (file((), (tensor(b"a", (4, 2**30 - 1, 2**30 + 1), 0, 0),), bytes(32)), "shape"),
    "sum of bytes that overflows": (
        file((), (tensor(b"a", (2**63 - 64,), 24, 0), tensor(b"b", (2**63 - 64,), 24, 2**63 - 64)), bytes(32)),
        "shape",
    ),
    "row that is no whole block": (file((), (tensor(b"a", (128, 2), 12, 0),), bytes(144)), "shape"),
    "unknown tensor type": (file((), (tensor(b"a", (8,), 43, 0),), bytes(32)), "unknown type 43"),
    "tensor type that was removed": (file((), (tensor(b"a", (32,), 4, 0),), bytes(32)), "unknown type 4"),
    "tensor type that is never stored": (file((), (tensor(b"a", (32,), 9, 0),), bytes(64)), "unknown type 9"),
    "offset beyond the file": (file((), (tensor(b"a", (8,), 0, HUGE),), bytes(32)), "must follow"),
    "offset that is not aligned": (file((), (tensor(b"a", (8,), 0, 16),), bytes(64)), "must follow"),
    "tensors that overlap": (file((), (ONE, tensor(b"b", (8,), 0, 0)), bytes(64)), "must follow"),
    "gap between tensors": (file((), (ONE, tensor(b"b", (8,), 0, 64)), bytes(128)), "must follow"),
    "data that ends early": (file((), (ONE,), bytes(31)), "1 bytes beyond"),
    "no data at all": (file((), (ONE,)), "beyond"),
    "data of another alignment": (
        file((key(b"general.alignment", U32, pack("<I", 1 << 30)),), (ONE,), bytes(32)),
        "beyond",
    ),
}


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


def _as_gguf_py_reads(path: Path) -> tuple[dict[str, object], dict[str, object]]:
    reader = gguf.GGUFReader(path)
    metadata = {
        name: (field.types[0].name, field.types[-1].name, field.contents())
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    tensors = {
        one.name: (tuple(one.shape.tolist()), one.tensor_type.name, one.data_offset, one.n_bytes)
        for one in reader.tensors
    }
    return metadata, tensors


def _agrees_with_gguf_py(path: Path) -> GgufFile:
    ours = read_gguf(path)
    metadata, tensors = _as_gguf_py_reads(path)
    assert list(ours.metadata) == list(metadata)
    for name, (outer, inner, value) in metadata.items():  # type: ignore[misc]
        mine = ours.metadata[name]
        assert ours.types[name] == outer
        if isinstance(mine, GgufArray):
            assert (mine.type, mine.length) == (inner, len(value))
            assert mine.items == (None if len(value) > SMALL else tuple(value))
        else:
            assert mine == value
            assert type(mine) is type(value)
    assert {name: (t.shape, t.type, t.offset, t.nbytes) for name, t in ours.tensors.items()} == tensors
    assert list(ours.tensors) == list(tensors)
    return ours


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_typed_error_that_names_it(name: str, put: Callable[[bytes], Path]) -> None:
    data, reason = BAD[name]
    path = put(data)
    with pytest.raises(BadModelFile, match=reason) as caught:
        read_gguf(path)
    assert caught.value.path == str(path)


def test_a_sound_file_is_read_as_it_was_written(put: Callable[[bytes], Path]) -> None:
    path = put(VALID)
    ours = _agrees_with_gguf_py(path)
    assert (ours.version, ours.alignment, ours.nbytes) == (3, 32, len(VALID))
    assert ours.metadata["last"] == 1 << 40
    assert ours.metadata["many words"] == GgufArray("STRING", SMALL + 1, None)
    assert ours.tensors["b"].offset == ours.data_offset + 64
    assert (ours.text("general.architecture"), ours.number("n", 1, 9)) == ("qwen2vl", 7)
    assert ours.array("mean", "FLOAT32") == (0.5, 0.25, 1.0)


def test_version_2_has_the_same_layout(put: Callable[[bytes], Path]) -> None:
    ours = read_gguf(put(file((ARCHITECTURE,), (ONE,), bytes(32), version=2)))
    assert ours.version == 2
    assert ours.tensors["a"].nbytes == 32


def test_a_file_of_another_alignment_is_laid_out_by_it(put: Callable[[bytes], Path]) -> None:
    keys = (key(b"general.alignment", U32, pack("<I", 128)),)
    path = put(file(keys, (ONE, tensor(b"b", (8,), 0, 128)), bytes(160), alignment=128))
    ours = _agrees_with_gguf_py(path)
    assert ours.alignment == 128
    assert ours.tensors["b"].offset % 128 == 0


def test_a_file_without_tensors_is_sound(put: Callable[[bytes], Path]) -> None:
    assert read_gguf(put(file((ARCHITECTURE,)))).tensors == {}


def test_a_value_of_another_type_or_range_is_not_handed_out(put: Callable[[bytes], Path]) -> None:
    ours = read_gguf(put(VALID))
    for ask in (
        lambda: ours.text("n"),
        lambda: ours.text("not there"),
        lambda: ours.number("last", 1, 9),
        lambda: ours.number("yes", 0, 1),
        lambda: ours.number("n", 1, 6),
        lambda: ours.array("mean", "INT32"),
        lambda: ours.array("many", "UINT8"),
        lambda: ours.array("n", "UINT32"),
    ):
        with pytest.raises(BadModelFile, match="must be"):
            ask()


def test_what_gguf_py_writes_is_read_as_gguf_py_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_token_list([f"token {i}" for i in range(3000)])
    writer.add_token_scores([0.5] * 3000)
    writer.add_rope_dimension_sections([16, 24, 24, 0])
    writer.add_chat_template("{{ messages }}\n")
    writer.add_bool("a.flag", False)
    writer.add_float64("a.double", 1e-300)
    writer.add_int64("a.long", -(1 << 62))
    writer.add_int8("a.byte", -5)
    writer.add_array("a.flags", [True, False])
    writer.add_tensor("f16", np.zeros((3, 5), np.float16))
    writer.add_tensor("f32", np.zeros((2, 3, 4, 5), np.float32))
    blocks = np.zeros((7, 2 * 144), np.uint8)
    writer.add_tensor("q4", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ours = _agrees_with_gguf_py(path)
    assert ours.tensors["q4"].shape == (512, 7)
    assert ours.metadata["a.flags"] == GgufArray("BOOL", 2, (True, False))


def test_a_converted_model_is_read_as_gguf_py_reads_it(tiny_model: Path) -> None:
    paths = sorted(tiny_model.glob("*.gguf"))
    assert len(paths) == 2
    for path in paths:
        assert _agrees_with_gguf_py(path).tensors


def test_a_vocabulary_of_real_size_is_walked_over(put: Callable[[bytes], Path]) -> None:
    tokens = b"".join(text(b"tok%06d" % i) for i in range(151936))
    merges = b"".join(text(b"a b%d" % i) for i in range(151387))
    keys = (
        key(b"tokenizer.ggml.tokens", ARRAY, array(STRING, 151936, tokens)),
        key(b"tokenizer.ggml.token_type", ARRAY, array(I32, 151936, pack("<i", 1) * 151936)),
        key(b"tokenizer.ggml.merges", ARRAY, array(STRING, 151387, merges)),
        ARCHITECTURE,
    )
    ours = read_gguf(put(file(keys, (ONE,), bytes(32))))
    assert ours.metadata["tokenizer.ggml.merges"] == GgufArray("STRING", 151387, None)
    assert ours.text("general.architecture") == "qwen2vl"


@pytest.mark.parametrize("type", [STRING, U8, U64, BOOL])
def test_a_count_that_is_only_stated_takes_no_memory(type: int, put: Callable[[bytes], Path]) -> None:
    path = put(file((key(b"k", ARRAY, array(type, 1 << 50, b"")),)))
    tracemalloc.start()
    try:
        with pytest.raises(BadModelFile):
            read_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_header_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    path.write_bytes(file((key(b"k", ARRAY, array(U8, 1 << 40, b"")),)))
    os.truncate(path, (1 << 40) + 4096)  # sparse: a terabyte that takes no place
    with pytest.raises(BadModelFile, match="header of more than"):
        read_gguf(path)


def test_texts_that_add_up_to_too_much_are_refused(put: Callable[[bytes], Path]) -> None:
    keys = tuple(key(b"k%d" % i, STRING, text(b"x" * (1 << 20))) for i in range(33))
    with pytest.raises(BadModelFile, match="more than 33554432 bytes"):
        read_gguf(put(file(keys)))


def test_only_regular_files_are_opened_and_none_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "folder", "not a regular file"),
        (Path(os.devnull), "not a regular file"),
        (tmp_path / "missing", "No such file"),
        (f"{tmp_path}/a\0b", "null"),
    ):
        with pytest.raises(BadModelFile, match=reason):
            read_gguf(path)


def test_every_prefix_of_a_file_is_refused(put: Callable[[bytes], Path]) -> None:
    short = file((ARCHITECTURE, key(b"n", U32, pack("<I", 7))), (ONE,), bytes(32))
    assert read_gguf(put(short)).tensors
    for length in range(len(short)):
        with pytest.raises(BadModelFile):
            read_gguf(put(short[:length]))


class _InitParams(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


@pytest.fixture(scope="module")
def native() -> ctypes.CDLL:
    """ggml as llama.cpp brings it, for what its own reader makes of a file."""
    llama_cpp = pytest.importorskip("llama_cpp")
    ggml = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, _InitParams]
    ggml.gguf_get_data_offset.argtypes = [ctypes.c_void_p]
    ggml.gguf_get_data_offset.restype = ctypes.c_size_t
    ggml.gguf_free.argtypes = [ctypes.c_void_p]
    return ggml


def test_the_sizes_of_tensor_types_are_those_of_ggml(native: ctypes.CDLL) -> None:
    for kind, (name, block, nbytes) in TENSOR_TYPES.items():
        assert (native.ggml_blck_size(kind), native.ggml_type_size(kind)) == (block, nbytes), name
    for one in gguf.GGMLQuantizationType:
        assert one.name in ("Q8_1", "Q8_K") or TENSOR_TYPES[one.value][0] == one.name


FLIPS = st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6)
HEADER = len(VALID) - 64 - 288
HEADER_FLIPS = st.lists(st.tuples(st.integers(0, 220), st.integers(0, 255)), min_size=1, max_size=3)


@settings(max_examples=400, deadline=None)
@given(flips=FLIPS | HEADER_FLIPS, cut=st.integers(0, 400) | st.just(0))
def test_a_damaged_file_is_refused_or_sound_for_llama_cpp_too(
    flips: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory, native: ctypes.CDLL
) -> None:
    data = bytearray(VALID)
    for at, value in flips:
        data[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(data[: len(data) - cut])
    try:
        ours = read_gguf(path)
    except BadModelFile:
        return
    assert all(one.offset + one.nbytes <= ours.nbytes for one in ours.tensors.values())
    context = native.gguf_init_from_file(os.fsencode(path), _InitParams(True, None))
    assert context is not None
    offset = native.gguf_get_data_offset(context)
    native.gguf_free(context)
    assert offset == ours.data_offset or not ours.tensors
