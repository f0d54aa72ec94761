# SPDX-License-Identifier: Apache-2.0
"""Whether each fault that was made is named at the right minute, and what else is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ashtkd_ros.trials import vocabulary as words
from tools.trial.plan import FAULTS, KILLED, Fault

TOLERANCE = 0.1  # minutes
# Events that are told once they have lasted for a while, which is their value `seconds`.
LASTING = {words.CAMERA_STOPPED, words.CAMERA_FAULT, words.NODE_SILENT, words.GNSS_LOST}
LASTING |= {words.ODOMETRY_STOPPED, words.RECORDER_LOST}


@dataclass(frozen=True)
class Injected:
    """A fault that was made: `minute` of the trial at which it began."""

    fault: Fault
    minute: float

    @property
    def process(self) -> str:
        """The process that was killed, as events name it; empty: none was."""
        return KILLED.get(self.fault.fault, '')


@dataclass(frozen=True)
class Named:
    """An event as the report of a trial tells it; `process`: which one it is about, or empty.

    `lasted_s`: what it says how long it has lasted by then, 0 where that is no matter of it.
    """

    minute: float
    kind: str
    text: str
    process: str = ''
    lasted_s: float = 0.0

    @property
    def since(self) -> float:
        """The minute at which it began, by its own words."""
        return self.minute - self.lasted_s / 60.0


@dataclass(frozen=True)
class Verdict:
    """A fault and the event that names it; None: it is not named."""

    injected: Injected
    named: Named | None

    def line(self) -> str:
        """For people."""
        what = f'{self.injected.fault.fault} at minute {self.injected.minute:.2f}'
        if self.named is None:
            return f'{what}: NOT NAMED'
        at, since = self.named.minute, self.named.since
        return f'{what}: named at {at:.2f}, since {since:.2f}, "{self.named.text}"'


def judge(injected: Sequence[Injected], events: Sequence[Named]) -> list[Verdict]:
    """For each fault the nearest event of its kind within TOLERANCE; none serves twice."""
    free, verdicts = list(events), []
    for fault in sorted(injected, key=lambda i: i.minute):
        fitting = [e for e in free if _names(e, fault)]
        best = min(fitting, key=lambda e: abs(e.since - fault.minute), default=None)
        if best is not None:
            free.remove(best)
        verdicts.append(Verdict(fault, best))
    return verdicts


def _names(event: Named, injected: Injected) -> bool:
    is_kind = event.kind in FAULTS[injected.fault.fault]
    is_process = not injected.process or event.process == injected.process
    return is_kind and is_process and abs(event.since - injected.minute) <= TOLERANCE


def unexplained(injected: Sequence[Injected], events: Sequence[Named]) -> list[Named]:
    """Events that tell of a fault while none was there, nor TOLERANCE after its end."""

    def is_explained(event: Named) -> bool:
        return any(
            i.minute <= event.minute <= i.minute + i.fault.seconds / 60 + 2 * TOLERANCE
            for i in injected
        )

    return [e for e in events if e.kind not in words.GOOD_NEWS and not is_explained(e)]
