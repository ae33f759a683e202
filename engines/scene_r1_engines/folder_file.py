"""One file of a model folder, held open while it is checked: inside its folder, of its size, of its hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.gguf_file import open_model_file
from scene_r1_engines.verified_files import Identity, identity_of, remember_verified, was_verified

CHUNK = 1 << 20


class Said(Protocol):
    """What a manifest says of one file: its plain name, its lower-case hex SHA-256, its size."""

    @property
    def file(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file of a model folder, open, so that all that is checked is one file. A context manager.

    path: absolute, without links. identity: of what was opened. said: by the manifest.
    """

    path: str
    file: BinaryIO
    identity: Identity
    said: Said

    @property
    def nbytes(self) -> int:
        return self.identity[2]

    def __enter__(self) -> FolderFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def check_size(self) -> None:
        """Raises BadModelFile where it has not the bytes that its manifest says."""
        if self.nbytes < self.said.bytes:
            raise BadModelFile(
                self.path, f"is truncated: {self.nbytes} of the {self.said.bytes} bytes of its manifest: copy it again"
            )
        if self.nbytes > self.said.bytes:
            raise BadModelFile(
                self.path,
                f"has {self.nbytes} bytes, its manifest says {self.said.bytes}: it is another file, copy it again",
            )

    def chunks(self) -> Iterator[bytes]:
        """All bytes, as long as the file stays as it was when it was opened. Raises BadModelFile when it does not."""
        self.file.seek(0)
        left = self.nbytes
        while left:
            try:
                chunk = self.file.read(min(left, CHUNK))
            except OSError as error:
                raise BadModelFile(self.path, f"cannot be read ({error.strerror or error})") from None
            if not chunk:
                break
            left -= len(chunk)
            yield chunk
        if identity_of(os.fstat(self.file.fileno())) != self.identity:
            raise BadModelFile(self.path, "was changed while it was read: start again")


def open_in_folder(root: str, said: Said) -> FolderFile:
    """The file that a manifest names. root: the folder, absolute and without links.

    Raises BadModelFile where it leads out of the folder, is missing or is no regular file.
    """
    path = os.path.realpath(os.path.join(root, said.file))
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        raise BadModelFile(
            os.path.join(root, said.file), f"is a link out of its folder, to {path}: copy the file there"
        )
    file = open_model_file(path)
    return FolderFile(path, file, identity_of(os.fstat(file.fileno())), said)


def check_hashes(opened: Sequence[FolderFile], progress: Callable[[int, int], None] | None = None) -> None:
    """Each file has the SHA-256 that its manifest says; those that were verified before and not touched since are not
    read again. progress: called with the bytes that are hashed and those there are to hash. Raises BadModelFile."""
    unknown = [one for one in opened if not was_verified(one.identity, one.said.sha256)]
    total, done = sum(one.nbytes for one in unknown), 0
    for one in unknown:
        digest = hashlib.sha256()
        for chunk in one.chunks():
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        if digest.hexdigest() != one.said.sha256:
            raise BadModelFile(
                one.path,
                f"has the sha256 {digest.hexdigest()[:12]}…, its manifest says {one.said.sha256[:12]}…: "
                "it was changed or damaged, copy or export it again",
            )
        remember_verified(one.identity, one.said.sha256)


def check_same_file(path: str | os.PathLike[str], identity: Identity) -> None:
    """Raises BadModelFile when the file at a path is no longer the one with this identity."""
    try:
        now = identity_of(os.stat(path))
    except OSError as error:
        raise BadModelFile(path, f"went away while it was loaded ({error.strerror or error})") from None
    if now != identity:
        raise BadModelFile(path, "was changed or replaced while it was loaded: start again")
