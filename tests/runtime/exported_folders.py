"""Writes the folders that ScanNet's SensReader, EmbodiedScan and NICE-SLAM's renderer write, for tests of readers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from scene_r1 import pose
from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics


def matrix_text(T: np.ndarray) -> str:
    return "".join(" ".join(f"{v:f}" for v in row) + "\n" for row in T)


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def as_4x4(one: Intrinsics) -> np.ndarray:
    K = np.eye(4)
    K[:3, :3] = one.K
    return K


def sens_reader_export(
    folder: Path,
    frames: Sequence[RgbdFrame],
    every: int = 1,
    color: str = "jpg",
    T_base_color: np.ndarray = IDENTITY,
) -> Path:
    """`color/0.jpg depth/0.png pose/0.txt intrinsic/*.txt`. every: step of the file numbers. A lost pose is -inf."""
    first = frames[0]
    T_color_base = pose.inverse(T_base_color)
    for number, frame in zip(range(0, every * len(frames), every), frames, strict=True):
        write_image(folder / f"color/{number}.{color}", frame.color)
        write_image(folder / f"depth/{number}.png", frame.depth_raw)
        T = frame.T_world_camera
        T = np.full((4, 4), -np.inf) if T is None else T @ T_color_base
        write_text(folder / f"pose/{number}.txt", matrix_text(T))
    for name, matrix in (
        ("intrinsic_color", as_4x4(first.color_intrinsics)),
        ("intrinsic_depth", as_4x4(first.depth_intrinsics)),
        ("extrinsic_color", T_base_color),
        ("extrinsic_depth", T_base_color @ first.T_color_depth),
    ):
        write_text(folder / f"intrinsic/{name}.txt", matrix_text(matrix))
    return folder


def embodied_scan(folder: Path, frames: Sequence[RgbdFrame], every: int = 10, depth_file: bool = True) -> Path:
    """`00000.jpg .png .txt intrinsic.txt depth_intrinsic.txt`. A lost pose has no file."""
    for number, frame in zip(range(0, every * len(frames), every), frames, strict=True):
        write_image(folder / f"{number:05d}.jpg", frame.color)
        write_image(folder / f"{number:05d}.png", frame.depth_raw)
        if frame.T_world_camera is not None:
            write_text(folder / f"{number:05d}.txt", matrix_text(frame.T_world_camera))
    write_text(folder / "intrinsic.txt", matrix_text(as_4x4(frames[0].color_intrinsics)))
    if depth_file:
        write_text(folder / "depth_intrinsic.txt", matrix_text(as_4x4(frames[0].depth_intrinsics)))
    return folder


def replica(folder: Path, frames: Sequence[RgbdFrame], parameters: bool = True, color: str = "png") -> Path:
    """`results/frame000000.{jpg,png} results/depth000000.png traj.txt`, and `cam_params.json` above it."""
    rows = []
    for frame in frames:
        write_image(folder / f"results/frame{frame.index:06d}.{color}", frame.color)
        write_image(folder / f"results/depth{frame.index:06d}.png", frame.depth_raw)
        T = frame.T_world_camera
        rows.append(" ".join(f"{v:.18e}" for v in (np.full(16, np.nan) if T is None else T.ravel())))
    write_text(folder / "traj.txt", "\n".join(rows) + "\n")
    if parameters:
        one = frames[0].color_intrinsics
        camera = {key: getattr(one, key) for key in ("fx", "fy", "cx", "cy")} | {"w": one.width, "h": one.height}
        camera["scale"] = round(1.0 / frames[0].depth_scale, 6)
        write_text(folder.parent / "cam_params.json", json.dumps({"camera": camera}))
    return folder
