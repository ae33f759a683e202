"""The times of a camera's frames: repeats and jumps of its clock are found, and what is handed out goes forward."""

from __future__ import annotations

from dataclasses import dataclass

JUMP_NS = 1_000_000_000
"""A clock that is so far ahead of where it can be has jumped; one that goes backwards has in any case."""
DRIFT = 1e-3
"""Of two clocks against each other, at most; the crystals of cameras and hosts are within 1e-4."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a timeline has got to, so that the next one can go on from there. offset_ns: handed out minus device."""

    timestamp_ns: int
    received_ns: int
    offset_ns: int
    segment: int


@dataclass(frozen=True, slots=True)
class Placed:
    """The time of one frame as it is handed out. See live_frame.Capture."""

    timestamp_ns: int
    segment: int
    lag_ns: int


@dataclass(frozen=True, slots=True)
class _Seen:
    number: int
    device_ns: int
    domain: str
    received_ns: int


class Timeline:
    """Takes frames in the order they came, in constant memory.

    recorded: times of a recording. They need not run as the host's clock does, so only repeats are looked for.
    after: of the timeline before it, when the camera was lost in between.

    duplicates: frames with the number or the time of the last one. stale: older ones that came late. clock_jumps:
    frames not used because their clock had jumped: two in a row that agree with each other begin a new segment.
    """

    def __init__(self, recorded: bool = False, after: Mark | None = None) -> None:
        self.duplicates = self.stale = self.clock_jumps = 0
        self._recorded = recorded
        self._after = after
        self._last: _Seen | None = None
        self._jumped: _Seen | None = None
        self._out_ns = 0
        self._offset_ns = 0
        self._segment = 0
        self._fastest_ns = 0.0
        """Least of received - device of late: of a frame that did not lag."""

    @property
    def mark(self) -> Mark | None:
        """None before the first frame."""
        if self._last is None:
            return self._after
        return Mark(self._out_ns, self._last.received_ns, self._offset_ns, self._segment)

    def place(self, number: int, device_ns: int, domain: str, received_ns: int) -> Placed | None:
        """The frame's time, or None (and it is counted) when the frame is not to be used."""
        now = _Seen(number, device_ns, domain, received_ns)
        last = self._last
        if last is None:
            self._go_on(now)
        elif domain == last.domain and (number == last.number or device_ns == last.device_ns):
            self.duplicates += 1
            return None
        elif domain == last.domain and self._is_late(now, last):
            self.stale += 1
            return None
        elif domain != last.domain or self._has_jumped(now, last):
            before, self._jumped = self._jumped, now
            if domain == last.domain and not (before is not None and _agree(before, now)):
                self.clock_jumps += 1
                return None
            # Another clock by name needs no second witness; what it shows cannot be compared with the one before.
            self.clock_jumps += domain != last.domain
            self._begin(now, self._out_ns, last.received_ns)
        else:
            self._jumped = None
            passed_ns = max(0, received_ns - last.received_ns)
            self._fastest_ns = min(self._fastest_ns + DRIFT * passed_ns, received_ns - device_ns)
        self._last = now
        self._out_ns = device_ns + self._offset_ns
        lag_ns = 0 if self._recorded else round(received_ns - device_ns - self._fastest_ns)
        return Placed(self._out_ns, self._segment, lag_ns)

    def _is_late(self, now: _Seen, last: _Seen) -> bool:
        if self._recorded:
            return now.device_ns < last.device_ns
        return now.number < last.number and last.device_ns - JUMP_NS < now.device_ns < last.device_ns

    def _has_jumped(self, now: _Seen, last: _Seen) -> bool:
        """Backwards, or ahead of the host. A frame that only comes late, or after a pause, is not ahead."""
        if self._recorded:
            return False
        return now.device_ns < last.device_ns or now.received_ns - now.device_ns < self._fastest_ns - JUMP_NS

    def _go_on(self, first: _Seen) -> None:
        """The first frame: with the offset of before when that fits, else by the host's clock."""
        self._fastest_ns = first.received_ns - first.device_ns
        after = self._after
        if after is None:
            return
        self._offset_ns, self._segment = after.offset_ns, after.segment
        expected_ns = after.timestamp_ns + first.received_ns - after.received_ns
        resumed_ns = first.device_ns + after.offset_ns
        fits = after.timestamp_ns < resumed_ns and abs(resumed_ns - expected_ns) < JUMP_NS
        if self._recorded or fits:
            return
        self._begin(first, after.timestamp_ns, after.received_ns)

    def _begin(self, first: _Seen, out_ns: int, received_ns: int) -> None:
        """A new segment, as much later than `out_ns` as the host saw pass since `received_ns`."""
        self._segment += 1
        self._offset_ns = out_ns + max(1, first.received_ns - received_ns) - first.device_ns
        self._fastest_ns = first.received_ns - first.device_ns
        self._jumped = None


def _agree(before: _Seen, now: _Seen) -> bool:
    """The clock runs on from where it jumped to, as fast as the host's."""
    step_ns, host_ns = now.device_ns - before.device_ns, now.received_ns - before.received_ns
    return before.domain == now.domain and step_ns > 0 and abs(step_ns - host_ns) < JUMP_NS
