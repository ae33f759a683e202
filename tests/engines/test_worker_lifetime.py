"""A reasoner in a process of its own: how that process is started, and that it ends with the reasoner or its caller."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.engines.isolated_reasoners import NO_LIMITS, ROOM, eventually, nothing_left_behind, opened
from tests.engines.small_reasoners import Behaviour

from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed
from scene_r1_engines.worker import IsolatedReasoner

SCRIPT = """
from scene_r1_engines.limits import Limits
from scene_r1_engines.worker import IsolatedReasoner
from tests.engines.small_reasoners import Behaviour, open_obedient
import os, signal, sys, time
print("once", flush=True)
reasoner = IsolatedReasoner("obedient", Behaviour(), opener=open_obedient)
print(reasoner.worker_pid, flush=True)
"""


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield


def living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run(script: str, tmp_path: Path, repository: Path, *, stdin: bool = False) -> subprocess.Popen[str]:
    """A caller of its own, from a plain script or from stdin. Warnings of the interpreter's exit show in its stderr."""
    paths = [str(repository), str(repository / "engines")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"}
    text = SCRIPT + textwrap.dedent(script)
    file = tmp_path / "caller.py"
    file.write_text(text)
    caller = subprocess.Popen(
        [sys.executable, "-" if stdin else str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    assert caller.stdin is not None
    if stdin:
        caller.stdin.write(text)
    caller.stdin.close()
    caller.stdin = None
    return caller


def said(caller: subprocess.Popen[str]) -> int:
    """The worker's pid, once the caller has said it."""
    assert caller.stdout is not None
    assert caller.stdout.readline() == "once\n"
    return int(caller.stdout.readline())


def test_what_opening_raises_is_raised_and_an_abort_in_it_too():
    with pytest.raises(BadModelFile, match="is not there"):
        opened(Behaviour(open="raise"))
    with pytest.raises(EngineFailed, match=r"(?s)signal 6.*opening obedient"):
        opened(Behaviour(open="abort"))
    with pytest.raises(EngineFailed, match=r"did not open the reasoner within 0.5 s"):
        opened(Behaviour(open="hang"), start_timeout_s=0.5)
    with pytest.raises(BadConfig, match="unknown reasoner 'nobody'"):
        IsolatedReasoner("nobody", None)


def test_what_cannot_be_sent_to_a_worker_is_bad_config(monkeypatch):
    with pytest.raises(BadConfig, match="cannot be sent"):
        IsolatedReasoner("obedient", None, opener=lambda name, settings: None)  # type: ignore[arg-type, return-value]
    local = type("Local", (), {"__module__": "__main__", "__qualname__": "Local"})
    monkeypatch.setattr(sys.modules["__main__"], "Local", local, raising=False)
    with pytest.raises(BadConfig, match="in a module that can be imported"):
        opened(local())
    for bad in ({"grace_s": -1.0}, {"start_timeout_s": float("inf")}, {"restarts": -1}):
        with pytest.raises(BadConfig, match=next(iter(bad))):
            opened(**bad)


def test_close_ends_the_worker_and_every_call_after_it_is_an_error():
    reasoner = opened()
    pid = reasoner.worker_pid
    reasoner.watch(1, ROOM, 0.0)
    reasoner.close()
    reasoner.close()
    assert not psutil.pid_exists(pid)
    assert reasoner.worker_pid is None
    for call in (
        lambda: reasoner.watch(2, ROOM, 0.0),
        lambda: reasoner.forget(1),
        lambda: reasoner.settle(None),
        lambda: reasoner.when("", NO_LIMITS),
        lambda: reasoner.where("", 1, NO_LIMITS),
        lambda: reasoner.answer("", NO_LIMITS),
    ):
        with pytest.raises(EngineFailed, match="closed"):
            call()


@pytest.mark.parametrize("state", ["busy", "settling", "stopped", "dead", "restarting"])
def test_close_ends_a_worker_in_any_state(state):
    go = threading.Event()
    reasoner = opened(Behaviour(settle_s=600), replay=lambda: go.wait(0.5) and [])
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            reasoner.when("sleep 600", NO_LIMITS)
        except EngineFailed as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    if state == "busy":
        asking.start()
        eventually(lambda: reasoner._supervisor._in_hand)
    if state == "settling":
        reasoner.watch(1, ROOM, 0.0)
        eventually(lambda: reasoner._supervisor._worker.block.working_ns)
    if state == "stopped":
        os.kill(reasoner.worker_pid, signal.SIGSTOP)
    if state in ("dead", "restarting"):
        os.kill(reasoner.worker_pid, signal.SIGKILL)
    if state == "restarting":
        eventually(lambda: reasoner.deaths)
    reasoner.close()
    if state == "busy":
        asking.join(5)
        assert "closed" in str(caught[0])
    go.set()


def test_a_reasoner_that_is_let_go_of_ends_its_worker():
    reasoner = opened()
    pid = reasoner.worker_pid
    del reasoner
    gc.collect()
    eventually(lambda: not psutil.pid_exists(pid))


@pytest.mark.parametrize("stdin", [False, True], ids=["script", "stdin"])
def test_a_plain_script_needs_no_idiom_and_its_end_is_the_workers(tmp_path, repository, stdin):
    caller = run('print(reasoner.when("pid", Limits()).text)', tmp_path, repository, stdin=stdin)
    out, err = caller.communicate(timeout=60)
    once, pid, text = out.split()
    assert (once, pid, err, caller.returncode) == ("once", text, "", 0)
    assert not living(int(pid))


def test_a_killed_caller_takes_its_busy_worker_with_it(tmp_path, repository):
    caller = run('reasoner.when("sleep 600", Limits())', tmp_path, repository)
    pid = said(caller)
    time.sleep(0.2)
    assert living(pid)
    caller.kill()
    caller.communicate()
    eventually(lambda: not living(pid))


def test_an_interrupt_at_the_terminal_is_the_callers_to_judge(tmp_path, repository):
    caller = run(
        """
        try:
            reasoner.when("until-cancelled", Limits())
        except KeyboardInterrupt:
            print(reasoner.when("pid", Limits()).text, reasoner.deaths)
        """,
        tmp_path,
        repository,
    )
    pid = said(caller)
    time.sleep(0.2)
    os.killpg(caller.pid, signal.SIGINT)
    out, err = caller.communicate(timeout=60)
    assert (out.split(), err, caller.returncode) == ([str(pid), "0"], "", 0)
    assert not living(pid)


def test_a_fork_of_the_caller_does_not_end_the_worker(tmp_path, repository):
    caller = run(
        """
        child = os.fork()
        if child == 0:
            reasoner.close()
            sys.exit(0)
        os.waitpid(child, 0)
        print(reasoner.when("pid", Limits()).text, reasoner.deaths)
        """,
        tmp_path,
        repository,
    )
    pid = said(caller)
    out, _ = caller.communicate(timeout=60)
    assert out.split() == [str(pid), "0"]


def test_a_worker_gives_way_to_its_caller_by_as_much_as_it_was_told_with_every_thread() -> None:
    with opened(Behaviour(), niceness=7) as reasoner:
        pid = reasoner.worker_pid
        assert pid is not None
        wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {wanted}
    with pytest.raises(BadConfig, match="niceness"):
        opened(Behaviour(), niceness=20)
