import os
import stat
import threading
from pathlib import Path

import pytest

from scene_r1.files import whole_file, whole_folder
from scene_r1_engines.errors import BadInput, OutputExists


class DiskFull(OSError):
    pass


@pytest.fixture
def umask():
    """Sets the umask; the old one comes back after the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_a_file_appears_whole_and_with_its_ending(tmp_path):
    target = tmp_path / "deep" / "down" / "model.tar.gz"
    with whole_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".gz"
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [DiskFull(28, "No space left on device"), KeyboardInterrupt(), ValueError("bad")])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "answer.json"
    target.write_text("old")

    def write():
        with whole_file(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [DiskFull(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_while_filling_a_folder_leaves_no_folder(tmp_path, error):
    def fill():
        with whole_folder(tmp_path / "recording") as temporary:
            (temporary / "frame-000000.png").write_bytes(b"x")
            (temporary / "deeper").mkdir()
            (temporary / "deeper" / "frame").write_bytes(b"x")
            raise error

    with pytest.raises(type(error)):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mask", "of_file", "of_folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mask, of_file, of_folder):
    umask(mask)
    with whole_file(tmp_path / "file") as temporary:
        temporary.write_text("x")
    with whole_folder(tmp_path / "folder") as temporary:
        (temporary / "inside").write_text("x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == of_file
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == of_folder


def test_writing_leaves_the_umask_of_the_process_alone(tmp_path, umask, monkeypatch):
    umask(0o027)
    set_to = []
    monkeypatch.setattr(os, "umask", lambda mask: set_to.append(mask))
    with whole_file(tmp_path / "file"), whole_folder(tmp_path / "folder"):
        pass
    monkeypatch.undo()
    assert set_to == []
    assert umask(0o027) == 0o027


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    with pytest.raises(OutputExists, match="already there"), whole_file(tmp_path):
        pytest.fail("the block must not run")


def test_a_file_that_is_there_is_kept_where_it_may_not_be_overwritten(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(OutputExists, match="file is already there"), whole_file(target, overwrite=False):
        pytest.fail("the block must not run")
    assert target.read_text() == "old"


def test_a_file_that_came_meanwhile_is_kept_where_it_may_not_be_overwritten(tmp_path):
    target = tmp_path / "file"

    def write():
        with whole_file(target, overwrite=False) as temporary:
            temporary.write_text("late")
            target.write_text("early")

    with pytest.raises(OutputExists):
        write()
    assert target.read_text() == "early"
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_folder_is_taken_and_a_full_one_refused(tmp_path):
    target = tmp_path / "recording"
    target.mkdir()
    with whole_folder(target) as temporary:
        (temporary / "frame").write_text("new")
    assert (target / "frame").read_text() == "new"
    with pytest.raises(OutputExists, match="recording is already there"), whole_folder(target):
        pytest.fail("the block must not run")
    plain = tmp_path / "plain"
    plain.write_text("a file")
    with pytest.raises(OutputExists), whole_folder(plain):
        pytest.fail("the block must not run")
    assert plain.read_text() == "a file"


def test_a_folder_that_was_filled_meanwhile_is_kept(tmp_path):
    target = tmp_path / "recording"

    def fill():
        with whole_folder(target) as temporary:
            (temporary / "frame").write_text("late")
            target.mkdir()
            (target / "frame").write_text("early")

    with pytest.raises(OutputExists):
        fill()
    assert (target / "frame").read_text() == "early"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_place_below_a_file_is_refused_as_bad_input(tmp_path, whole):
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "out", tmp_path / "file" / "deeper" / "out"):
        with pytest.raises(BadInput, match="not a folder"), whole(target):
            pytest.fail("the block must not run")


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_the_longest_name_can_be_written(tmp_path, whole):
    target = tmp_path / ("n" * 251 + ".png")
    with whole(target) as temporary:
        assert len(temporary.name) < 255
    assert target.exists()


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    target = tmp_path / "file.bin"
    together = threading.Barrier(8)
    errors = []

    def write(number):
        try:
            together.wait()
            for _ in range(20):
                with whole_file(target) as temporary:
                    temporary.write_bytes(bytes([number]) * 4096)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    data = target.read_bytes()
    assert len(data) == 4096
    assert len(set(data)) == 1
    assert list(tmp_path.iterdir()) == [target]


def test_a_relative_path_is_written_where_the_process_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with whole_file("here.txt") as temporary:
        Path(temporary).write_text("x")
    assert (tmp_path / "here.txt").read_text() == "x"


def test_a_block_that_removes_its_file_gives_an_error_and_no_file(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file") as temporary:
        temporary.unlink()
    assert list(tmp_path.iterdir()) == []
