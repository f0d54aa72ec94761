# SPDX-License-Identifier: Apache-2.0
"""Whether the stamps of images, in the order of their receipt, can be believed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from ashtkd_ros.traverses.frame import BACK, BACK_S, STRAY

AHEAD, _WITNESSES = 5, 2  # images that follow; so many of them refute the stamp before them
Times = tuple[float, float]  # stamp and time of receipt, in seconds
_T = TypeVar('_T')


@dataclass
class Clock:
    """The camera's clock, in seconds, as far as images have come.

    `newest` stamp, by which `delay` it was received later; `back`: the clock jumped back, and no
    image since came with about that delay, so that stamps mean other moments than before.
    """

    newest: float = -math.inf
    delay: float = 0.0
    back: bool = False

    def refusal(self, stamp: float, received_s: float, ahead: Sequence[Times]) -> str:
        """Take the next image; why its stamp is of no use, else empty.

        `ahead`: those of the few images that follow.
        """
        delay = received_s - stamp
        if not self.back and ahead and self._refuted(stamp, ahead):
            return STRAY
        still = self.back and abs(delay - self.delay) > BACK_S
        self.back = still or stamp < self.newest - BACK_S
        if not self.back and stamp > self.newest:
            self.newest, self.delay = stamp, delay
        return BACK if self.back else ''

    def _refuted(self, stamp: float, ahead: Sequence[Times]) -> bool:
        """Whether images go on from the newest one as if this stamp had not been."""
        is_first, least = self.newest == -math.inf, self.newest - BACK_S
        found = sum(
            least <= following < stamp - BACK_S
            and (is_first or abs(received_s - following - self.delay) <= BACK_S)
            for following, received_s in ahead
        )
        return found >= min(_WITNESSES, len(ahead))


def with_next(items: Iterable[_T], count: int) -> Iterator[tuple[_T, list[_T]]]:
    """Each item with the `count` that follow it, fewer at the end."""
    rest = iter(items)
    waiting = deque(islice(rest, count + 1))
    while waiting:
        item = waiting.popleft()
        yield item, list(waiting)
        waiting.extend(islice(rest, 1))
