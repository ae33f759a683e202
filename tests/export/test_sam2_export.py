"""SAM2 as four graphs: each says what the original says, whatever the extents, and the folder says what it holds."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxsim")
pytest.importorskip("sam2")

from tests.export.sam2_parts import ORIGINAL  # noqa: E402

from scene_r1_engines.errors import EngineFailed  # noqa: E402
from scene_r1_engines.sam2.manifest import PARTS, read_sam2_manifest, tensors  # noqa: E402
from scene_r1_export.checkpoint import sha256_of  # noqa: E402
from scene_r1_export.cli import main  # noqa: E402
from scene_r1_export.fixtures.sam2 import random_sam2  # noqa: E402
from scene_r1_export.sam2.attention import ROWS, attend, attend_by_rows  # noqa: E402
from scene_r1_export.sam2.checkpoint import load_state, read_state  # noqa: E402
from scene_r1_export.sam2.graph import arguments, examples, to_onnx  # noqa: E402
from scene_r1_export.sam2.official import official_model  # noqa: E402
from scene_r1_export.sam2.parity import check_parity  # noqa: E402
from scene_r1_export.sam2.parts import module_of  # noqa: E402
from scene_r1_export.sam2.tensors import tensors_of, unused_inputs  # noqa: E402

CONFIG = "sam2.1_hiera_t"
PX = 256
CLOSE = 1e-4
"""Of an output's largest value."""
REDKITCHEN = Path(__file__).parents[3] / "shared" / "data" / "redkitchen"


@pytest.fixture(scope="module")
def original(sam2_checkpoint: Path) -> Any:
    model = official_model(CONFIG, PX)
    load_state(model, read_state(sam2_checkpoint), sam2_checkpoint, CONFIG)
    return model


@pytest.fixture(scope="module")
def first() -> Any:
    """A SAM 2.0."""
    return random_sam2("sam2_hiera_t", 0, 512)


def given_to(takes: str, px: int, seed: int = 0, **extents: int) -> dict[str, Any]:
    """Inputs of a graph, the last point of each thing padding."""
    given = examples(tensors(takes), extents, seed)
    if "coords" in given:
        given["coords"] = torch.rand(given["coords"].shape, generator=torch.Generator().manual_seed(seed)) * px
        given["labels"][:, -1] = -1
    return given


def in_torch(module: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    with torch.inference_mode():
        found = module(*arguments(module, given))
    return found if isinstance(found, tuple) else (found,)


def in_onnx(model: Any, given: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in given.items()})
    return [torch.from_numpy(value) for value in found]


def original_of(part: str, model: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    with torch.inference_mode():
        return ORIGINAL[part](model, **given)


def assert_close(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= CLOSE * float(other.abs().max())


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("things", "points", "slots", "pointers", "times"), [(1, 2, 1, 1, 4), (3, 5, 4, 6, 16)])
def test_a_graph_says_what_the_original_says_whatever_the_extents(
    part: str, things: int, points: int, slots: int, pointers: int, times: int, original: Any, sam2_folder: Path
) -> None:
    graph = read_sam2_manifest(sam2_folder).graphs[part]
    side = times * PX // 16
    given = given_to(graph.inputs, PX, things, B=things, N=points, M=slots, P=pointers, H=side, W=side)
    expected = original_of(part, original, given)
    assert_close(in_torch(module_of(part, original), given), expected)
    assert_close(in_onnx(sam2_folder / graph.file, given), expected)


def test_hidden_things_and_unstable_masks_are_judged_in_the_graph(original: Any) -> None:
    """Of six things some are hidden, and of the masks of the others some are unstable, some not."""
    model = copy.deepcopy(original)
    takes, gives = tensors_of("mask_decoder", PX)
    given = given_to(takes, PX, 5, B=6, N=4)
    given["multimask"][:] = 0.0
    decoder = model.sam_mask_decoder
    decoder.dynamic_multimask_via_stability = False
    low, _, _, score = original_of("mask_decoder", model, given)
    decoder.dynamic_multimask_via_stability = True
    decoder.dynamic_multimask_stability_thresh = float(decoder._get_stability_scores(low).median()) + 1e-4
    with torch.no_grad():
        decoder.pred_obj_score_head.layers[-1].bias.sub_(score.median() + 1e-3)
    expected = original_of("mask_decoder", model, given)
    hidden = expected[3].flatten() <= 0.0
    assert 0 < int(hidden.sum()) < 6
    other = (expected[0] - low).abs().flatten(1).amax(1) > 1e-3
    assert 0 < int(other[~hidden].sum()) < int((~hidden).sum())
    found = in_onnx(to_onnx(module_of("mask_decoder", model), takes, gives), given)
    assert_close(found, expected)
    assert bool((found[0][hidden] == -1024.0).all())
    assert bool(torch.equal(found[2][hidden], model.no_obj_ptr.detach().expand(int(hidden.sum()), -1)))


@pytest.mark.parametrize("part", ["memory_encoder", "memory_attention"])
def test_the_first_generation_has_no_ages_and_no_mark_of_the_hidden(part: str, first: Any) -> None:
    """At 512 px, where queries are taken in two portions."""
    takes, gives = tensors_of(part, 512, unused_inputs(first))
    assert ("ptr_t" in takes, "score" in takes) == (False, False)
    graph = to_onnx(module_of(part, first), takes, gives)
    given = given_to(takes, 512, B=1, M=2, P=3, H=128, W=128)
    assert_close(in_onnx(graph, given), original_of(part, first, given))


def test_queries_in_portions_find_what_they_find_at_once() -> None:
    q, k, v = (torch.randn(2, rows, 32) for rows in (2 * ROWS + 100, 70, 70))
    assert_close([attend_by_rows(q, k, v, q.shape[1])], [attend(q, k, v)])


def test_the_encoder_of_a_larger_picture_is_the_original_too(first: Any) -> None:
    given = {"image": torch.randn(1, 3, 512, 512)}
    assert_close(in_torch(module_of("image_encoder", first), given), original_of("image_encoder", first, given))


def test_the_folder_says_what_it_holds(sam2_folder: Path, sam2_checkpoint: Path) -> None:
    manifest = read_sam2_manifest(sam2_folder)
    assert (manifest.name, manifest.precision, manifest.input_px) == (CONFIG, "fp32", PX)
    assert manifest.source_sha256 == sha256_of(sam2_checkpoint)
    assert (manifest.memory.slots, manifest.memory.pointers, manifest.masks.binarize) == (7, 16, True)
    state = read_state(sam2_checkpoint)
    assert manifest.masks.kernel == pytest.approx(state["mask_downsample.weight"].flatten().tolist())
    assert {path.name for path in sam2_folder.iterdir()} == {
        "manifest.toml",
        *(graph.file for graph in manifest.graphs.values()),
    }
    for part, graph in manifest.graphs.items():
        path = sam2_folder / graph.file
        assert (graph.bytes, graph.sha256) == (path.stat().st_size, sha256_of(path))
        assert (graph.inputs, graph.outputs) == tensors_of(part, PX)
        model = onnx.load(str(path), load_external_data=False)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
        assert {node.domain for node in model.graph.node} == {""}
        assert not any(one.external_data for one in model.graph.initializer)


@pytest.mark.skipif(not REDKITCHEN.exists(), reason="no recording")
def test_int8_is_for_the_encoder_alone_and_is_calibrated_on_a_recording(
    sam2_checkpoint: Path, sam2_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8"
    words = ["--config", CONFIG, "--input-px", str(PX), "--precision", "int8", "--calibrate", str(REDKITCHEN)]
    assert main(["sam2", str(sam2_checkpoint), *words, "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["manifest"]["precision"] == "int8"
    manifest, whole = read_sam2_manifest(out), read_sam2_manifest(sam2_folder)
    assert [graph.precision for graph in manifest.graphs.values()] == ["int8", "fp32", "fp32", "fp32"]
    assert manifest.image_encoder.bytes < 0.6 * whole.image_encoder.bytes
    assert manifest.image_encoder.inputs == whole.image_encoder.inputs


def test_a_graph_that_computes_something_else_is_not_handed_out(original: Any, tmp_path: Path) -> None:
    module, (takes, gives) = module_of("memory_encoder", original), tensors_of("memory_encoder", PX)
    path = tmp_path / "memory_encoder.onnx"
    graph = to_onnx(module, takes, gives)
    onnx.save(graph, str(path))
    assert check_parity(path, module, takes) < CLOSE
    bias: Any = next(one for one in graph.graph.initializer if one.name.endswith("out_proj.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.1, bias.name))
    onnx.save(graph, str(path))
    with pytest.raises(EngineFailed, match="differs from its checkpoint"):
        check_parity(path, module, takes)


def test_tensors_that_are_not_the_promised_ones_are_refused(original: Any) -> None:
    takes, gives = tensors_of("memory_encoder", PX)
    with pytest.raises(EngineFailed, match="mem is of ONNX type 1 and not int32"):
        to_onnx(module_of("memory_encoder", original), takes, gives.replace("float32", "int32"))
