# SPDX-License-Identifier: Apache-2.0
"""The marks of a trial: sent by this dashboard or by others, and whether they are on the disk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from ashtkd_ros.trials.trial_log import LogEntry

PATIENCE_S = 2.0  # a mark that is not acknowledged within this time is probably lost
SAVED, WAITING, LOST = 'saved', 'not saved yet', 'NOT SAVED'
_KEPT = 50


@dataclass
class Mark:
    """`number`: counted from 0; `clock_ns`: system clock when it was made.

    `sent`: seconds of the state's clock, or None where somebody else sent it; `saved`: whether the
    watch has written it to the disk.
    """

    number: int
    kind: str
    text: str
    clock_ns: int
    sent: float | None
    saved: bool


class Marks:
    """The last marks, oldest first; `clock()`: seconds that never jump."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self.kept: deque[Mark] = deque(maxlen=_KEPT)
        self._number = count()

    def send(self, kind: str, text: str) -> Mark:
        """Note a mark that is being sent now."""
        self.kept.append(
            Mark(next(self._number), kind, text, time.time_ns(), self._clock(), False)
        )
        return self.kept[-1]

    def acknowledge(self, entry: LogEntry) -> None:
        """The watch has written this mark to the disk, whoever sent it."""
        for mark in self.kept:
            if not mark.saved and (mark.kind, mark.text) == (entry.kind, entry.text):
                mark.saved = True
                return
        mark = Mark(next(self._number), entry.kind, entry.text, entry.stamp_ns, None, True)
        self.kept.append(mark)

    @property
    def lost(self) -> list[Mark]:
        """Marks of this dashboard that nobody has acknowledged in time."""
        return [mark for mark in self.kept if self.word(mark) == LOST]

    def word(self, mark: Mark) -> str:
        """SAVED, WAITING or LOST."""
        if mark.saved:
            return SAVED
        return LOST if self._clock() - mark.sent > PATIENCE_S else WAITING
