"""Tests that need librealsense: where it is absent they are left out, but not where everything has to be there."""

from __future__ import annotations

import os

import pytest

from scene_r1.sources.realsense_sdk import sdk
from scene_r1_engines.errors import MissingExtra


def _sdk_missing() -> str | None:
    try:
        sdk("these tests")
    except MissingExtra as error:
        return str(error)
    return None


MISSING = _sdk_missing()
needs_sdk = pytest.mark.skipif(MISSING is not None and not os.environ.get("CI"), reason=f"no librealsense: {MISSING}")
