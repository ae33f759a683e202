"""Pictures of answers: what is drawn is where the camera sees it."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1 import pose
from scene_r1.box import EDGES, Box3D
from scene_r1.drawing import Exhibit, contact_sheet, evidence, evidence_sheet, lines, palette, sheet, text, write_png
from scene_r1.drawing.wireframe import NEAR_M, strokes
from scene_r1.frame import RgbdFrame
from scene_r1_engines.errors import BadFrame, BadInput, BadPrompt, OutputExists, SceneR1Error
from scene_r1_engines.intrinsics import Intrinsics

PINHOLE = Intrinsics(500.0, 505.0, 321.0, 238.0, 640, 480)
BENT = Intrinsics(500.0, 505.0, 321.0, 238.0, 640, 480, "brown_conrady", (-0.28, 0.09, 0.001, -0.002, 0.0))
INVERSE = Intrinsics(500.0, 505.0, 321.0, 238.0, 640, 480, "inverse_brown_conrady", (0.15, -0.3, 0.001, -0.002, 0.1))
CAMERAS = {"pinhole": PINHOLE, "brown_conrady": BENT, "inverse_brown_conrady": INVERSE}
T_WORLD_CAMERA = pose.from_quaternion((0.4, -1.0, 0.7), (0.5, -0.5, 0.5, 0.5))
GREY = 90


def flat(camera: Intrinsics = PINHOLE, depth_m: float = 0.0, T: np.ndarray | None = T_WORLD_CAMERA) -> RgbdFrame:
    """A grey picture of a wall at one depth; 0 = nothing measured."""
    return RgbdFrame(
        index=3,
        timestamp_ns=0,
        color=np.full((camera.height, camera.width, 3), GREY, np.uint8),
        color_intrinsics=camera,
        depth_raw=np.full((camera.height, camera.width), round(depth_m * 1000), np.uint16),
        depth_scale=0.001,
        depth_intrinsics=camera,
        T_world_camera=T,
    )


def box_at(center_camera: tuple[float, float, float], size: tuple[float, float, float] = (0.3, 0.3, 0.3)) -> Box3D:
    """A box of the world with its centre at a point of the camera's frame."""
    x, y, z = pose.apply(T_WORLD_CAMERA, [center_camera])[0]
    return Box3D((float(x), float(y), float(z)), size, 0.0, 1)


def is_like(image: np.ndarray, color: palette.Color, tolerance: int = 60) -> np.ndarray:
    return np.asarray(np.abs(image.astype(int) - color).max(axis=-1) < tolerance)


@pytest.mark.parametrize("model", CAMERAS)
def test_edges_run_where_the_camera_sees_them(model: str) -> None:
    frame, box = flat(CAMERAS[model]), box_at((0.1, -0.05, 1.2))
    drawn = np.concatenate([stroke.pixels for stroke in strokes(box, frame, frame.color_intrinsics)])
    corners = pose.apply(pose.inverse(T_WORLD_CAMERA), box.corners)
    t = np.linspace(0.0, 1.0, 50)[:, None]
    wanted = np.concatenate([corners[i] + t * (corners[j] - corners[i]) for i, j in EDGES])
    apart = np.linalg.norm(CAMERAS[model].project(wanted)[:, None] - drawn[None], axis=2).min(axis=1)
    assert apart.max() <= 1.1  # samples are 2 px from each other


def test_a_bent_edge_is_drawn_bent() -> None:
    frame, box = flat(BENT), box_at((0.0, 0.0, 1.5), (0.9, 0.9, 0.9))
    widest = max(strokes(box, frame, BENT), key=lambda stroke: float(np.ptp(stroke.pixels[:, 0])))
    a, b = widest.pixels[0], widest.pixels[-1]
    normal = np.array([b[1] - a[1], a[0] - b[0]]) / np.linalg.norm(b - a)
    assert np.abs((widest.pixels - a) @ normal).max() > 3.0


def test_the_picture_has_the_edges_colour_on_the_edges() -> None:
    frame, box = flat(), box_at((0.0, 0.0, 1.0))
    image = evidence(frame, box=box)
    corners = pose.apply(pose.inverse(T_WORLD_CAMERA), box.corners)
    middles = PINHOLE.project(np.array([(corners[i] + corners[j]) / 2.0 for i, j in EDGES]))
    for u, v in np.rint(middles).astype(int):
        assert is_like(image[v - 1 : v + 2, u - 1 : u + 2], palette.BOX_3D).any()


def test_a_box_in_a_picture_of_twice_the_size_is_drawn_at_twice_the_coordinates() -> None:
    small = PINHOLE.scaled(320, 240)
    frame, box = flat(small), box_at((0.0, 0.0, 1.0))
    image = evidence(frame, box=box)
    assert image.shape == (480, 640, 3)
    mine, other = (is_like(picture, palette.BOX_3D) for picture in (image, evidence(flat(), box=box)))
    both = np.count_nonzero(mine & other)
    assert both > 0.9 * np.count_nonzero(mine)
    assert both > 0.9 * np.count_nonzero(other)


def test_edges_before_the_wall_are_seen_and_edges_behind_it_are_hidden() -> None:
    box = box_at((0.0, 0.0, 1.5))
    depth = pose.apply(pose.inverse(T_WORLD_CAMERA), box.corners)[:, 2]
    for wall_m, hidden in ((0.0, set()), (3.0, {False}), (1.0, {True}), (1.5, {False, True})):
        found = strokes(box, flat(depth_m=wall_m), PINHOLE)
        assert {stroke.hidden for stroke in found} == (hidden or {False})
    assert depth.min() < 1.45
    assert depth.max() > 1.55


def test_hidden_edges_are_fainter_than_seen_ones() -> None:
    box = box_at((0.0, 0.0, 1.5))
    seen, hidden = (np.count_nonzero(is_like(evidence(flat(depth_m=d), box=box), palette.BOX_3D)) for d in (3.0, 1.0))
    assert 0 < hidden < 0.5 * seen


def test_what_hides_is_looked_up_in_the_depth_camera() -> None:
    # The depth camera sits 10 cm to the right and sees a post at the right half of its own picture.
    depth_raw = np.full((240, 320), 3000, np.uint16)
    depth_raw[:, 160:] = 700
    own = Intrinsics(250.0, 250.0, 159.5, 119.5, 320, 240)
    T = np.eye(4)
    T[0, 3] = 0.1
    frame = replace(flat(), depth_raw=depth_raw, depth_intrinsics=own, T_color_depth=T)
    for x, hidden in ((-0.1, False), (0.4, True)):
        found = strokes(box_at((x, 0.0, 1.5), (0.1, 0.1, 0.1)), frame, PINHOLE)
        assert {stroke.hidden for stroke in found} == {hidden}


def test_a_box_around_the_camera_is_cut_at_the_near_plane() -> None:
    frame, box = flat(), box_at((0.0, 0.0, 0.5), (3.0, 3.0, 3.0))
    found = strokes(box, frame, PINHOLE)
    assert found
    for stroke in found:
        assert np.all(np.isfinite(stroke.pixels))
        assert np.all(np.abs(stroke.pixels - (320, 240)) < 600)
    assert evidence(frame, box=box).shape[1] == 640


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("center", [(0.0, 0.0, -1.0), (5.0, 0.0, 1.0), (0.0, -4.0, 0.8), (3.0, 3.0, 0.3)])
def test_a_box_out_of_view_leaves_the_picture_as_it_is(model: str, center: tuple[float, float, float]) -> None:
    frame = flat(CAMERAS[model])
    assert np.array_equal(evidence(frame, box=box_at(center)), frame.color)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(CAMERAS)),
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    st.tuples(*[st.floats(0.001, 8.0)] * 3),
)
def test_any_box_can_be_drawn(model: str, center: tuple[float, float, float], size: tuple[float, float, float]) -> None:
    camera = CAMERAS[model].scaled(160, 120)
    frame, box = flat(camera, 1.0), box_at(center, size)
    for stroke in strokes(box, frame, camera):
        assert len(stroke.pixels) >= 2
        assert np.all(np.isfinite(stroke.pixels))
    ends = pose.apply(pose.inverse(T_WORLD_CAMERA), box.corners)[:, 2]
    if ends.max() < NEAR_M:
        assert not strokes(box, frame, camera)
    assert evidence(frame, box=box).dtype == np.uint8


def test_the_mask_is_tinted_inside_and_nothing_is_outside() -> None:
    frame = flat()
    mask = np.zeros((480, 640), np.bool_)
    mask[100:300, 200:400] = True
    image = evidence(frame, mask=mask)
    changed = (image != GREY).any(axis=-1)
    assert changed[mask].all()
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(np.bool_)
    assert not changed[~grown].any()
    assert is_like(image[100, 220:380], palette.MASK, 20).all()
    inside, pure = image[200, 300].astype(int), np.array(palette.MASK)
    assert np.all(np.abs(inside - GREY) < np.abs(pure - GREY))
    assert frame.color.max() == GREY


def test_the_2d_box_is_drawn_on_the_border_of_its_pixels() -> None:
    image = evidence(flat(), xyxy=(200.0, 100.0, 400.0, 300.0))
    for row in (99, 100, 299, 300):
        assert is_like(image[row, 230:370], palette.BOX_2D, 130).all()
    assert np.array_equal(image[110:290, 210:390], np.full((180, 180, 3), GREY))
    assert np.array_equal(image[:95], np.full((95, 640, 3), GREY))


@pytest.mark.parametrize("xyxy", [(-1e9, -1e9, 1e9, 1e9), (-50.0, 100.0, 300.0, 900.0), (700.0, 500.0, 800.0, 600.0)])
def test_a_2d_box_beyond_the_picture_is_no_trouble(xyxy: tuple[float, float, float, float]) -> None:
    assert evidence(flat(), xyxy=xyxy).shape == (480, 640, 3)


def test_a_small_thing_is_shown_again_enlarged_and_a_large_one_is_not() -> None:
    frame = flat()
    colored = frame.color.copy()
    colored[380:400, 500:520] = (250, 0, 250)
    frame = replace(frame, color=colored)
    small, large = np.zeros((480, 640), np.bool_), np.zeros((480, 640), np.bool_)
    small[378:402, 498:522], large[300:470, 400:620] = True, True
    again = evidence(frame, mask=small)[:240, :320]
    tinted = np.rint(np.array((250, 0, 250)) * 0.62 + np.multiply(palette.MASK, 0.38))
    assert np.count_nonzero(np.abs(again - tinted).max(axis=-1) < 3) > 4 * 20 * 20
    assert np.array_equal(evidence(frame, mask=large)[:240, :320], np.full((240, 320, 3), GREY))


def test_both_sizes_are_said_when_the_truth_is_shown_too() -> None:
    frame = flat()
    box, truth = box_at((0.0, 0.0, 1.0)), box_at((0.02, 0.0, 1.0))
    one, both = evidence(frame, box=box), evidence(frame, box=box, truth=truth)
    assert one.shape[0] == 480
    assert both.shape[0] > 480
    assert is_like(both[480:], palette.TRUTH, 10).any()
    assert is_like(both[480:], palette.BOX_3D, 10).any()
    assert is_like(both[:480], palette.TRUTH).sum() > 100


def test_the_caption_stands_below_the_picture_and_leaves_it_alone() -> None:
    plain, said = evidence(flat()), evidence(flat(), caption="frame 3: the red mug")
    assert np.array_equal(said[:480], plain)
    assert said.shape[0] == 480 + text.LINE_PX + text.MARGIN_PX
    assert is_like(said[480:], palette.INK, 40).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=200), st.integers(20, 400))
def test_any_caption_fits_its_room_in_printable_ascii(words: str, room: int) -> None:
    broken = text.wrapped(words, room)
    assert len(broken) <= text.MOST_LINES
    for line in broken:
        assert all(" " <= letter <= "~" for letter in line)
        assert text.width_px(line) <= room or len(line) <= 3
    strip = text.strip(words, room)
    assert strip.shape[1:] == (room, 3)


def test_what_the_font_lacks_is_replaced_and_accents_are_dropped() -> None:
    assert text.plain("naïve “Küche” – 0.2 × 0.1 m…\n日本") == 'naive "Kuche" - 0.2 x 0.1 m... ??'


def test_a_caption_loses_no_word_until_there_is_no_room() -> None:
    words = " ".join(f"word{n}" for n in range(12))
    assert " ".join(text.wrapped(words, 200)) == words
    long = text.wrapped("word " * 5000, 200)
    assert len(long) == text.MOST_LINES
    assert long[-1].endswith("...")
    assert len(text.wrapped("x" * 100_000, 200)) == text.MOST_LINES


def test_dashes_cover_their_share_of_a_line_and_stay_on_it() -> None:
    line = np.array([(10.0, 10.0), (50.0, 10.0), (50.0, 60.0)])
    dashes = lines.dashes(line)
    drawn = sum(float(np.linalg.norm(np.diff(dash, axis=0), axis=1).sum()) for dash in dashes)
    assert drawn == pytest.approx(90.0 * lines.DASH_PX / (lines.DASH_PX + lines.GAP_PX), abs=lines.DASH_PX)
    for dash in dashes:
        assert np.all((dash[:, 0] == 50.0) | (dash[:, 1] == 10.0))


def test_what_does_not_fit_the_frame_is_refused() -> None:
    lost = flat(T=None)
    with pytest.raises(BadFrame, match="frame 3: a mask must be"):
        evidence(flat(), mask=np.zeros((48, 64), np.bool_))
    with pytest.raises(BadFrame, match="uint8"):
        evidence(flat(), mask=np.zeros((480, 640), np.uint8))  # type: ignore[arg-type]
    for boxes in ({"box": box_at((0.0, 0.0, 1.0))}, {"truth": box_at((0.0, 0.0, 1.0))}):
        with pytest.raises(BadFrame, match="frame 3: the camera's pose is unknown"):
            evidence(lost, **boxes)
    with pytest.raises(BadPrompt):
        evidence(flat(), xyxy=(1.0, 2.0, float("nan"), 4.0))
    assert evidence(lost, xyxy=(10.0, 20.0, 60.0, 80.0)).shape[1] == 640


def test_a_view_on_a_sheet_is_drawn_at_its_size_there() -> None:
    exhibit = Exhibit(flat(), box=box_at((0.0, 0.0, 1.0)), caption="frame 3")
    sheet = evidence_sheet([exhibit] * 3, width=1000)
    assert sheet.shape[1] == 1000
    cell = (1000 - 8) // 3 - 8
    own = exhibit.drawn(cell)
    for number in range(3):
        x = 8 + number * (cell + 8)
        assert np.array_equal(sheet[8 : 8 + len(own), x : x + cell], own)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (7, 3), (16, 4)])
def test_a_contact_sheet_has_a_place_for_every_frame(count: int, columns: int) -> None:
    frames = [replace(flat(), color=np.full((480, 640, 3), 40 + 12 * i, np.uint8)) for i in range(count)]
    sheet = contact_sheet(frames, [f"frame {i}" for i in range(count)], width=800)
    assert sheet.shape[1] == 800
    cell = (800 - 8) // columns - 8
    high = round(480 * cell / 640)
    row_px = high + text.LINE_PX + text.MARGIN_PX + 8
    assert sheet.shape[0] == 8 + row_px * -(-count // columns)
    for i in range(count):
        y, x = 8 + (i // columns) * row_px, 8 + (i % columns) * (cell + 8)
        assert np.all(sheet[y : y + high, x : x + cell] == 40 + 12 * i)


def test_sheets_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [flat()] * 2
    with pytest.raises(BadInput, match="at least one"):
        contact_sheet([], [])
    with pytest.raises(BadInput, match="at least one"):
        evidence_sheet([])
    with pytest.raises(BadInput, match="1 for 2"):
        contact_sheet(frames, ["one"])
    with pytest.raises(BadInput, match="columns must be"):
        contact_sheet(frames, ["", ""], columns=0)
    with pytest.raises(BadInput, match="make it 728 wide"):
        contact_sheet(frames, ["", ""], columns=10, width=300)
    with pytest.raises(BadInput, match="16384 pixels wide"):
        contact_sheet(frames, ["", ""], width=100_000)
    monkeypatch.setattr(sheet, "MOST_PIXELS", 600_000)
    assert contact_sheet(frames, ["", ""], columns=2, width=800).shape[1] == 800
    with pytest.raises(BadInput, match="pass 600000 pixels"):
        contact_sheet(frames, ["", ""], columns=1, width=800)


def test_a_full_disk_is_one_error_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    write_png(tmp_path / "a.png", image)
    before = (tmp_path / "a.png").read_bytes()

    def full(*paths: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scene_r1.files.os.replace", full)
    with pytest.raises(SceneR1Error, match=r"a\.png: cannot be written: No space left"):
        write_png(tmp_path / "a.png", image + 9)
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_png_comes_back_as_it_was(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    write_png(tmp_path / "new" / "a.png", image)
    read = cv2.imread(str(tmp_path / "new" / "a.png"), cv2.IMREAD_COLOR)
    assert np.array_equal(read[:, :, ::-1], image)
    assert os.listdir(tmp_path / "new") == ["a.png"]


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(BadInput, match=r"\.png"):
        write_png(tmp_path / "a.jpg", image)
    for wrong in (image[:, :, 0], image.astype(np.float32), image[:0]):
        with pytest.raises(BadInput, match=r"\(H, W, 3\) uint8"):
            write_png(tmp_path / "a.png", wrong)  # type: ignore[arg-type]
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputExists):
        write_png(tmp_path / "folder.png", image)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SceneR1Error, match="is not a folder"):
        write_png(tmp_path / "file" / "a.png", image)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]
