# SPDX-License-Identifier: Apache-2.0
"""Seconds since a trial began, of anything that has a time of the system's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ashtkd_ros.stamps import ns_to_s
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import STARTED

_SET_NS = 500_000_000  # the system's clock was set if it and the steady one part by so much
_LONGEST_NS = 30 * 86_400 * 10**9  # no trial lasts longer: entries further off are damaged


@dataclass(frozen=True)
class _Era:
    """While the system's clock was not set: it was `ahead` of the steady clock, in ns.

    `first` and `last`: the steady times in ns between which this is known.
    """

    ahead: int
    first: int
    last: int


class TrialClock:
    """The clock of a trial: entries of its log know both clocks, messages of a bag the system's.

    Where the system's clock was set in mid-trial, it is the entries before and after that tell.
    """

    def __init__(self, start_monotonic_ns: int, eras: Sequence[_Era]):
        self._start, self._eras = start_monotonic_ns, list(eras)

    @classmethod
    def of(
        cls,
        entries: Sequence[LogEntry],
        configuration: Mapping[str, object] | None = None,
        first_ns: int = 0,
    ) -> TrialClock:
        """`entries`: events and marks; `first_ns`: of the system's clock, when the first message
        came, for a trial of which nothing else tells when it began."""
        told = configuration or {}
        began = told.get('started_ns'), told.get('started_monotonic_ns')
        known = [(e.stamp_ns, e.monotonic_ns) for e in entries]
        start = next((e.monotonic_ns for e in entries if e.kind == STARTED), None)
        if all(type(value) is int for value in began):
            known.append(began)
            start = began[1] if start is None else start
        if start is None:
            start = min((steady for _, steady in known), default=None)
        if start is None:
            start, known = first_ns, [(first_ns, first_ns)]
        near = [pair for pair in known if abs(pair[1] - start) <= _LONGEST_NS]
        return cls(start, _eras(sorted(near, key=lambda pair: pair[1])))

    @property
    def was_set(self) -> int:
        """How often the system's clock was set."""
        return len(self._eras) - 1

    def of_entry(self, entry: LogEntry) -> float:
        """Seconds since the beginning of an entry of the log."""
        return ns_to_s(entry.monotonic_ns - self._start)

    def holds(self, entry: LogEntry) -> bool:
        """Whether an entry's time can be one of this trial."""
        return abs(entry.monotonic_ns - self._start) <= _LONGEST_NS

    def seconds(self, system_ns: int) -> float:
        """Seconds since the beginning of a time of the system's clock, such as that of receipt."""
        return ns_to_s(self.steady_ns(system_ns) - self._start)

    def steady_ns(self, system_ns: int) -> int:
        """The same as a time of the steady clock."""
        eras = self._eras
        if len(eras) == 1:
            return system_ns - eras[0].ahead
        off: list[tuple[int, int]] = []
        for k, era in enumerate(eras):
            steady = system_ns - era.ahead
            low = eras[k - 1].last if k else era.first
            high = eras[k + 1].first if k + 1 < len(eras) else steady
            off.append((max(low - steady, steady - high, 0), steady))
        return min(off, key=lambda pair: pair[0])[1]  # the earlier one of two that fit


def _eras(known: Sequence[tuple[int, int]]) -> list[_Era]:
    """`known`: pairs of a system's and a steady time in ns, in order of the latter."""
    eras: list[_Era] = []
    for stamp, steady in known:
        ahead = stamp - steady
        if eras and abs(ahead - eras[-1].ahead) <= _SET_NS:
            eras[-1] = _Era(ahead, eras[-1].first, steady)
        else:
            eras.append(_Era(ahead, steady, steady))
    return eras
