"""`python -m scene_r1_export.cli`: the command where its script is not installed."""

from __future__ import annotations

import sys

from scene_r1_export.cli import main

sys.exit(main())
