"""Files and folders that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scene_r1_engines.errors import OutputExists, SceneR1Error


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path in the same folder with the same ending; renamed to `path` on success, removed on any error.

    Raises OutputExists when `path` is there and `overwrite` is False, when it is a folder, or when a file stands where
    its folder should be.
    """
    target = Path(path)
    _refuse_file(target, overwrite)
    temporary = _beside(target, target.suffix, lambda name: os.close(os.open(name, os.O_CREAT | os.O_EXCL, 0o666)))
    try:
        yield temporary
        _refuse_file(target, overwrite)
        os.replace(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside `path`; renamed to `path` on success, removed on any error.

    Raises OutputExists when `path` is there and is not an empty folder, or when a file stands where its own folder
    should be.
    """
    target = Path(path)
    _refuse_folder(target)
    temporary = _beside(target, "", lambda name: os.mkdir(name, 0o777))
    try:
        yield temporary
        _refuse_folder(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 in place of whatever file was there, whole or absent. Raises SceneR1Error when the disk refuses."""
    try:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SceneR1Error(
            f"{os.fspath(path)} cannot be written ({error.strerror or error}): name another place"
        ) from error


def check_output_folder(path: str | os.PathLike[str]) -> Path:
    """A folder that results can go to, there or not; nothing is made. Asked before the work, not after it.

    Raises OutputExists when a file stands there or on the way, SceneR1Error when nothing may be written there.
    """
    folder = Path(path)
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise OutputExists(f"{there} is not a folder: name another place or remove it")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SceneR1Error(f"{folder}: nothing may be written to {there}: name another place")
    return folder


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made with those above it where they are missing. Raises as `check_output_folder`."""
    folder = check_output_folder(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneR1Error(f"{folder}: cannot be created: {error.strerror or error}") from error
    return folder


def _beside(target: Path, ending: str, make: Callable[[Path], None]) -> Path:
    """Make a new entry in the target's folder under a name that nobody has."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputExists(f"{target.parent} is not a folder: name another place or remove it") from error
    while True:
        # Made here and not by tempfile, whose entries are closed to others: so the umask is applied by the system, and
        # need not be read, which is only possible by setting it, for every thread.
        temporary = target.with_name(f".{target.stem[:32]}-{secrets.token_hex(8)}{ending}")
        with suppress(FileExistsError):
            make(temporary)
            return temporary


def _refuse_file(target: Path, overwrite: bool) -> None:
    if target.is_dir() or (target.exists() and not overwrite):
        raise OutputExists(f"{target} is already there: name another place or remove it")


def _refuse_folder(target: Path) -> None:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputExists(f"{target} is already there: name another place or remove it")
