"""What the builder is at, for whoever waits: minutes on a Jetson."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Told = Callable[[int, int], None]
"""Called with the steps that are done and those there are, of the outermost phase."""


class Stopped:
    """What a callback raised, such as an interrupt: it cannot pass through native code, so the build is told to end
    and it is raised afterwards."""

    def __init__(self) -> None:
        self.error: BaseException | None = None


@contextmanager
def watched(trt: Any, config: Any, told: Told | None) -> Iterator[None]:
    """While the block builds with this config, `told` hears of it. Raises what `told` raised, once the build ended."""
    if told is None:
        yield
        return
    stopped, steps = Stopped(), dict[str, int]()

    def tell(done: int, total: int) -> None:
        if stopped.error is not None:
            return
        try:
            told(done, total)
        except BaseException as error:  # noqa: BLE001 - raised again below
            stopped.error = error

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # pybind11 wants its own called, not super()'s

        def phase_start(self, phase: str, parent: str | None, count: int) -> None:
            if parent is None:
                steps[phase] = count
                tell(0, count)

        def step_complete(self, phase: str, step: int) -> bool:
            if phase in steps:
                tell(step + 1, steps[phase])
            return stopped.error is None

        def phase_finish(self, phase: str) -> None:
            if phase in steps:
                tell(steps[phase], steps.pop(phase))

    monitor = Monitor()
    config.progress_monitor = monitor
    try:
        yield
    except Exception:
        if stopped.error is None:
            raise
    finally:
        config.progress_monitor = None
    if stopped.error is not None:
        raise stopped.error
