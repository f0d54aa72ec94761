# SPDX-License-Identifier: Apache-2.0
"""One moment by both clocks of a machine, and whether they went on alike since the last one."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from ashtkd_ros.stamps import NS_PER_S
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import CLOCK_JUMP

JUMP_S = 0.5  # a step of a clock that is told; time servers make smaller ones
_TOGETHER_NS, _TRIES = 2_000_000, 20
_STALL_S, _TICK_S = 0.6, 0.25


@dataclass(frozen=True)
class Moment:
    """`monotonic_ns`: of time.monotonic_ns; `stamp_ns`: of the system's clock since 1970."""

    monotonic_ns: int
    stamp_ns: int

    @classmethod
    def now(cls) -> Moment:
        """Both clocks read together, also on a machine that stops a process in between."""
        for _ in range(_TRIES):
            before, stamp, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            if after - before < _TOGETHER_NS:
                break
        return cls(before, stamp)

    def entry(self, kind: str, text: str, **values: object) -> LogEntry:
        """An event at this moment."""
        return LogEntry(kind, text, self.stamp_ns, self.monotonic_ns, values)


@dataclass
class Clocks:
    """Follows the moments of a trial.

    `awake_s`: seconds that were watched. A gap in which nothing was fed, since the machine
    stuttered, counts as one tick: what was silent then may only have been late. `stuttered`: when
    the last gap ended, in the same seconds.
    """

    awake_s: float = 0.0
    stuttered: float = -math.inf
    last: Moment | None = None
    jumped: tuple[float, float] = field(default=(-1e9, 0.0))  # awake_s and seconds of the last

    def follow(self, at: Moment) -> list[LogEntry]:
        """CLOCK_JUMP where the system's clock has jumped since the last moment."""
        last, self.last = self.last, at
        if last is None:
            return []
        passed = (at.monotonic_ns - last.monotonic_ns) / NS_PER_S
        self.awake_s += max(0.0, passed if passed < _STALL_S else _TICK_S)
        self.stuttered = self.stuttered if passed < _STALL_S else self.awake_s
        jump = (at.stamp_ns - last.stamp_ns) / NS_PER_S - passed
        if abs(jump) <= JUMP_S:
            return []
        self.jumped = self.awake_s, jump
        text = f'the clock of the machine jumped {ahead(jump)}; check its time server'
        return [at.entry(CLOCK_JUMP, text, clock='system', seconds=round(jump, 3))]

    def jumped_lately(self, seconds: float) -> bool:
        """Whether the system's clock jumped by about so much in the last 10 s."""
        when, jump = self.jumped
        return self.awake_s - when < 10.0 and abs(jump - seconds) <= max(JUMP_S, 0.1 * abs(jump))


def ahead(seconds: float) -> str:
    """A jump in words."""
    return f'{"ahead" if seconds > 0 else "back"} by {abs(seconds):.1f} s'
