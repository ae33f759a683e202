"""`recipe train`: tune a checkpoint on such data with GRPO."""

from __future__ import annotations

import argparse
import sys

from scene_r1.program import OK
from scene_r1_engines.settings_file import read_settings
from scene_r1_export.recipe.train import train
from scene_r1_export.recipe.train_settings import TrainSettings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.toml", help="the settings of the run, see docs/grpo.md")
    parser.add_argument("--resume", action="store_true", help="go on from the last state that the run saved")


def run(args: argparse.Namespace) -> int:
    folder = train(read_settings(TrainSettings, args.config), args.resume)
    sys.stderr.write(f"{folder}: for scene-r1-export vlm\n")
    return OK
