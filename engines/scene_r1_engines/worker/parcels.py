"""What waits to be handed to the worker, and what it holds: bounded, and still there when the worker is not."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadFrame, BadInput, BudgetExceeded
from scene_r1_engines.worker.messages import Ask, Forget, Order, Reply, Tell, Watch

MOST_WAITING = 256
"""Orders that wait at once."""
MOST_WAITING_BYTES = 256 << 20
"""Of the pictures among them."""


@dataclass(slots=True, eq=False)
class Parcel:
    """An order with its picture, and what came of it. handed_ns: when it was handed over; 0 before. given_up_ns: when
    the caller ceased to wait for a question; 0 before."""

    order: Order
    image: NDArray[np.uint8] | None = None
    reply: Reply | None = None
    handed_ns: int = 0
    given_up_ns: int = 0

    @property
    def due_ns(self) -> int | None:
        """When the worker ought to have ended a question: at its deadline, or when it was given up. None: never."""
        deadline_ns = self.order.deadline_ns if isinstance(self.order, Ask) else None
        return min((ns for ns in (deadline_ns, self.given_up_ns) if ns), default=None)


class Parcels:
    """The orders that wait, and the keyframes that the caller wants held. Not for several threads at once.

    keyframes: the most that are held, where that is known; the worker's own reasoner refuses beyond it anyway.
    """

    def __init__(self, keyframes: int | None) -> None:
        self._keyframes = keyframes
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self._held: set[int] = set()
        """Wanted by the caller: the worker has them, or they wait, or they are to be given again."""
        self._given: set[int] = set()
        """Of those, what this worker has or is being given."""
        self._lost: set[int] = set()
        """Of those, what no worker will have again."""
        self.told: Tell | None = None
        """The stream's time as last told; a newer one replaces it, however long the worker takes."""
        self._told_waits = False

    @property
    def empty(self) -> bool:
        return not self._waiting and not self._told_waits

    @property
    def held(self) -> frozenset[int]:
        """The keyframes that the worker has, or will have as far as is known: neither refused nor lost."""
        return frozenset(self._held - self._lost)

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        """image: the caller's own no more. Raises BadFrame for an id that is held, BudgetExceeded."""
        if keyframe_id in self._held and keyframe_id not in self._lost:
            raise BadFrame(f"keyframe {keyframe_id} is held already")
        if self._keyframes is not None and len(self._held - self._lost) >= self._keyframes:
            raise BudgetExceeded(
                f"{self._keyframes} keyframes are held already: forget one first, or raise the reasoner's `keyframes`"
            )
        if self._bytes + image.nbytes > MOST_WAITING_BYTES:
            raise BudgetExceeded(
                f"keyframe {keyframe_id}: {self._bytes} bytes of pictures wait for the worker, {MOST_WAITING_BYTES} is "
                "the most: give it time to settle"
            )
        self._put(Parcel(Watch(keyframe_id, timestamp_s, image.shape), image))
        self._held.add(keyframe_id)
        self._lost.discard(keyframe_id)

    def forget(self, keyframe_id: int) -> None:
        """Raises BadInput for an id that is not held, BudgetExceeded."""
        if keyframe_id not in self._held:
            raise BadInput(f"keyframe {keyframe_id} is not held by the reasoner; held: {sorted(self._held)}")
        if keyframe_id in self._given:
            self._put(Parcel(Forget(keyframe_id)))
            self._given.discard(keyframe_id)
        for parcel in [one for one in self._waiting if _watches(one) == keyframe_id]:
            self.withdraw(parcel)
        self._held.discard(keyframe_id)
        self._lost.discard(keyframe_id)

    def tell(self, now_s: float | None) -> None:
        self.told, self._told_waits = Tell(now_s), True

    def ask(self, parcel: Parcel) -> None:
        """Raises BadInput when the keyframe asked about is not held or is lost, BudgetExceeded."""
        assert isinstance(parcel.order, Ask)
        keyframe_id = parcel.order.keyframe_id
        if keyframe_id is not None and keyframe_id in self._lost:
            raise BadInput(
                f"keyframe {keyframe_id} was lost with the worker process that held it and was not given again: "
                "watch it once more"
            )
        if keyframe_id is not None and keyframe_id not in self._held:
            raise BadInput(f"keyframe {keyframe_id} is not held by the reasoner; held: {sorted(self._held)}")
        self._put(parcel)

    def asked(self) -> list[Parcel]:
        """The questions among what waits."""
        return [one for one in self._waiting if isinstance(one.order, Ask)]

    def withdraw(self, parcel: Parcel) -> None:
        """Take back what still waits; nothing for what does not."""
        if parcel in self._waiting:
            self._waiting.remove(parcel)
            self._bytes -= _bytes(parcel)

    def take(self) -> Parcel | None:
        """The next for the worker; None when nothing waits."""
        if self._waiting:
            parcel = self._waiting.popleft()
            self._bytes -= _bytes(parcel)
            keyframe_id = _watches(parcel)
            if keyframe_id is not None:
                self._given.add(keyframe_id)
            return parcel
        if self._told_waits and self.told is not None:
            self._told_waits = False
            return Parcel(self.told)
        return None

    def refused(self, keyframe_id: int) -> bool:
        """The worker did not take a keyframe: it is not held, unless it was watched anew in the meantime. Returns
        whether it was wanted until now."""
        self._given.discard(keyframe_id)
        if keyframe_id not in self._held or self._is_waiting(keyframe_id):
            return False
        self._held.discard(keyframe_id)
        return True

    def worker_died(self, in_hand: Parcel | None) -> list[Parcel]:
        """Nothing is given any more. Returns the questions among what waited; they are not asked again."""
        asked = self.asked()
        keep = [one for one in self._waiting if _watches(one) is not None]
        keyframe_id = None if in_hand is None else _watches(in_hand)
        if in_hand is not None and keyframe_id in self._held and not any(_watches(one) == keyframe_id for one in keep):
            keep.insert(0, in_hand)
        self._waiting = deque(keep)
        self._bytes = sum(map(_bytes, keep))
        self._given.clear()
        self._told_waits = self.told is not None
        return asked

    def give_again(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> Parcel | None:
        """To be handed to a new worker before what waits; None when it is not wanted or waits itself."""
        if keyframe_id not in self._held or keyframe_id in self._given or self._is_waiting(keyframe_id):
            return None
        self._given.add(keyframe_id)
        self._lost.discard(keyframe_id)
        return Parcel(Watch(keyframe_id, timestamp_s, image.shape), image)

    def all_given_again(self) -> list[int]:
        """What was held and has not been given again is lost from now on: those ids."""
        lost = {one for one in self._held - self._given - self._lost if not self._is_waiting(one)}
        self._lost |= lost
        return sorted(lost)

    def _is_waiting(self, keyframe_id: int) -> bool:
        return any(_watches(one) == keyframe_id for one in self._waiting)

    def _put(self, parcel: Parcel) -> None:
        if len(self._waiting) >= MOST_WAITING:
            raise BudgetExceeded(
                f"{MOST_WAITING} orders wait for the worker of the reasoner, and more are not taken: give it time"
            )
        self._waiting.append(parcel)
        self._bytes += _bytes(parcel)


def _watches(parcel: Parcel) -> int | None:
    return parcel.order.keyframe_id if isinstance(parcel.order, Watch) else None


def _bytes(parcel: Parcel) -> int:
    return 0 if parcel.image is None else parcel.image.nbytes
