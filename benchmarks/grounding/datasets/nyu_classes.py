"""The 18 classes by which ScanRefer tells unique objects from those of which a scene has several."""

from __future__ import annotations

from pathlib import Path

from scene_r1.sources.recorded_file import read_text
from scene_r1_engines.errors import BadRecording

LABELS_FILE = "scannetv2-labels.combined.tsv"
PLACES = ("", "scannet", "scans", "scannet/meta_data")
OTHERS = "others"
CLASSES = frozenset(
    {
        "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "desk",
        "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub",
    }
)  # fmt: skip
"""Names of NYU40; with OTHERS, into which everything else falls, they are ScanNet's 18 of the benchmark."""
RAW, NYU40 = "raw_category", "nyu40class"


def labels_file(data: Path) -> Path | None:
    """ScanNet's table of labels below a data folder, or None."""
    return next((path for place in PLACES if (path := data / place / LABELS_FILE).is_file()), None)


def read_classes(path: Path) -> dict[str, str]:
    """Raw category to one of CLASSES or OTHERS.

    Source: `_get_raw2label` of ScanRefer's lib/dataset.py (Chen et al., ECCV 2020). Raises BadRecording naming the line
    that has too few columns, or the column that the first line does not name.
    """
    lines = read_text(path).splitlines()
    header = lines[0].split("\t") if lines else []
    missing = [name for name in (RAW, NYU40) if name not in header]
    if missing:
        raise BadRecording(path, f"its first line names no column {missing[0]!r}: is it ScanNet's table of labels?")
    raw, nyu40 = header.index(RAW), header.index(NYU40)
    classes = {}
    for number, line in enumerate(lines[1:], 2):
        words = line.split("\t")
        if not line.strip():
            continue
        if len(words) <= max(raw, nyu40):
            raise BadRecording(path, f"line {number} has {len(words)} columns of {len(header)}: download it again")
        classes[words[raw]] = words[nyu40] if words[nyu40] in CLASSES else OTHERS
    return classes
