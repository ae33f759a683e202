"""Videos of ARKitScenes (Baruch et al., NeurIPS 2021) and SceneFun3D (Delitzas et al., CVPR 2024)."""

from __future__ import annotations

from scene_r1.sources.arkit_scenes.source import ArkitScenesSource
from scene_r1.sources.arkit_scenes.video_folder import looks_like_arkit_scenes

__all__ = ["ArkitScenesSource", "looks_like_arkit_scenes"]
