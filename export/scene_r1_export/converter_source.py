"""Where llama.cpp's converter comes from: a checkout, a source distribution of llama-cpp-python, or a cache of these.

The converter must fit the runtime that will load its files, so it is taken from the sources of the installed
llama-cpp-python. It is no package of its own, and what is published under its name is not by its authors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from scene_r1_engines.cache_home import cache_home
from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed, MissingExtra
from scene_r1_export.checkpoint import sha256_of

PACKAGE = "llama-cpp-python"
SDIST_SHA256 = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
"""Of the source distributions that were looked at; any other is used with a warning."""
NEEDED = ("convert_hf_to_gguf.py", "conversion/__init__.py", "gguf-py/gguf/__init__.py")
KEPT = re.compile(r"convert_hf_to_gguf\.py|LICENSE|conversion/[\w./-]+\.py|gguf-py/LICENSE|gguf-py/gguf/[\w./-]+")
MOST_FILES = 2000
MOST_BYTES = 64 << 20
MOST_ARCHIVE = 4 << 30
DOWNLOAD_SECONDS = 900
INSTEAD = "give a llama.cpp checkout with --llama-cpp DIR, or a source distribution with --llama-cpp-sdist FILE"
logger = logging.getLogger(__name__)


def find_converter(checkout: Path | None = None, sdist: Path | None = None) -> Path:
    """A folder with convert_hf_to_gguf.py, conversion/ and gguf-py/.

    checkout: a llama.cpp folder. sdist: a llama-cpp-python source distribution. Neither: the cache, which is filled
    from the package index on first use. Raises BadConfig for a checkout without a converter, BadModelFile for a
    distribution that is not what it should be, EngineFailed when none can be downloaded.
    """
    if checkout is not None:
        if absent := [name for name in NEEDED if not (checkout / name).is_file()]:
            raise BadConfig(
                f"{checkout} holds no converter that is known ({absent[0]} is missing): name llama.cpp's root"
            )
        return checkout.resolve()
    if sdist is not None:
        return _unpacked(sdist)
    try:
        wanted = version(PACKAGE)
    except PackageNotFoundError:
        raise MissingExtra("vlm", "choosing the converter's version") from None
    cached = cache_folder() / wanted
    return cached if _whole(cached) else _downloaded(wanted)


def cache_folder() -> Path:
    """Where converters are kept between runs. Raises BadConfig where there is no place for them."""
    home = cache_home()
    if home is None:
        raise BadConfig("there is no folder to keep the converter in: set XDG_CACHE_HOME or HOME, or give --llama-cpp")
    return home / "llama.cpp"


def _downloaded(wanted: str) -> Path:
    """The converter of that version, by the package index."""
    if importlib.util.find_spec("pip") is None:
        raise EngineFailed(f"the converter of {PACKAGE} {wanted} cannot be downloaded without pip: {INSTEAD}")
    logger.warning("downloading the sources of %s %s for their converter, once", PACKAGE, wanted)
    with tempfile.TemporaryDirectory(prefix="scene-r1-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-input"]
        command += ["--disable-pip-version-check", "-q", "-d", folder, f"{PACKAGE}=={wanted}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise EngineFailed(f"downloading {PACKAGE} {wanted} took over {DOWNLOAD_SECONDS} s: {INSTEAD}") from None
        found = sorted(Path(folder).glob("*.tar.gz"))
        if done.returncode or not found:
            lines = [line for line in done.stderr.splitlines() if line.strip()][-3:]
            raise EngineFailed(
                f"the sources of {PACKAGE} {wanted} cannot be downloaded ({' / '.join(lines)[:400]}): {INSTEAD}"
            )
        return _unpacked(found[0], wanted)


def _unpacked(sdist: Path, wanted: str | None = None) -> Path:
    """The converter out of a source distribution, in the cache. wanted: the version it must be."""
    if not sdist.is_file():
        raise BadModelFile(sdist, "is no file: name a source distribution (llama_cpp_python-….tar.gz)")
    sha256 = sha256_of(sdist)
    found = re.fullmatch(r"llama_cpp_python-([\w.+]{1,40})\.tar\.gz", sdist.name)
    stated = wanted or (found[1] if found else "unknown")
    if SDIST_SHA256.get(stated, sha256) != sha256:
        raise BadModelFile(
            sdist, f"has the sha256 {sha256}, which is not that of {PACKAGE} {stated}: download it again"
        )
    pinned = sha256 in SDIST_SHA256.values()
    if not pinned:
        logger.warning(
            "%s (sha256 %s) is a version that was never looked at; its converter is run as it is", sdist, sha256
        )
    # A distribution that was named by hand must not take the place of the one that is downloaded.
    target = cache_folder() / (stated if pinned or wanted else f"{stated}-{sha256[:12]}")
    if _whole(target):
        return target
    with _folder_beside(target) as temporary:
        _extract(sdist, temporary)
        if not _whole(temporary):
            raise BadModelFile(sdist, f"holds no vendor/llama.cpp with {', '.join(NEEDED)}")
        try:
            os.replace(temporary, target)
        except OSError:
            if not _whole(target):  # else another process was first
                raise
    return target


def _extract(sdist: Path, folder: Path) -> None:
    """Write the converter's files. Only regular files under known names are written, by us, so that no link, device or
    path of the archive is ever followed."""
    files = size = walked = 0
    try:
        with tarfile.open(sdist, "r:gz") as archive:
            for member in archive:
                walked += member.size
                if walked > MOST_ARCHIVE:
                    raise BadModelFile(sdist, f"unpacks to more than {MOST_ARCHIVE} bytes")
                _, _, inner = member.name.partition("/vendor/llama.cpp/")
                if not member.isreg() or not KEPT.fullmatch(inner) or ".." in PurePosixPath(inner).parts:
                    continue
                files, size = files + 1, size + member.size
                source = archive.extractfile(member)
                if files > MOST_FILES or size > MOST_BYTES or source is None:
                    raise BadModelFile(sdist, f"its converter has more than {MOST_FILES} files or {MOST_BYTES} bytes")
                path = folder / inner
                path.parent.mkdir(parents=True, exist_ok=True)
                with source, path.open("xb") as out:
                    shutil.copyfileobj(source, out)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:  # zlib's and gzip's errors are among these
        if isinstance(error, BadModelFile) or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise BadModelFile(sdist, f"is no whole .tar.gz: {str(error)[:200]}") from None


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in NEEDED)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A new folder beside the target, gone afterwards unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def source_id(folder: Path) -> str:
    """What a manifest says of a converter: the first digits of a hash over its programs."""
    digest = hashlib.sha256()
    for path in sorted([folder / NEEDED[0], *(folder / "conversion").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
