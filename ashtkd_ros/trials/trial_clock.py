# SPDX-License-Identifier: Apache-2.0
"""Seconds since a trial began, of anything that has a time of the system's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ashtkd_ros.stamps import ns_to_s
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import STARTED

_SET_NS = 500_000_000  # the system's clock was set if it and the steady one part by so much
_MOST_ERAS = 20  # of a log with more, times are damaged
# No trial lasts longer, and nothing is noted before it begins: entries further off are damaged.
_LONGEST_NS, _EARLIEST_NS = 30 * 86_400 * 10**9, -60 * 10**9


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
        came, for a trial of which nothing else tells when it began; 0: not known."""
        told = configuration or {}
        began = told.get('started_ns'), told.get('started_monotonic_ns')
        known = [(e.stamp_ns, e.monotonic_ns) for e in entries]
        start = next((e.monotonic_ns for e in entries if e.kind == STARTED), None)
        if all(type(value) is int for value in began):
            known.append(began)
            start = began[1] if start is None else start
        if start is None and known:  # its first entry, or the first message
            stamp, start = min(known, key=lambda pair: pair[1])
            start -= stamp - first_ns if 0 < stamp - first_ns < _LONGEST_NS else 0
        if start is None:
            start, known = first_ns, [(first_ns, first_ns)]
        near = [pair for pair in known if _EARLIEST_NS <= pair[1] - start <= _LONGEST_NS]
        return cls(start, _eras(sorted(near, key=lambda pair: pair[1])))

    @property
    def was_set(self) -> int:
        """How often the system's clock was set."""
        return len(self._eras) - 1

    def parts(self) -> list[tuple[int | None, int | None]]:
        """All times of the system's clock, from the first to before the second of each (None: no
        end), in the order in which they came: where it was set back, later ones are earlier."""
        eras = self._eras
        firsts = {era.first + era.ahead for era in eras}
        lasts = {a.last + b.ahead for a, b in pairwise(eras)}
        lasts |= {b.first + a.ahead for a, b in pairwise(eras)}
        edges = sorted(t for t in firsts | lasts if 0 < t < 2**63) if self.was_set else []
        found = list(pairwise([None, *edges, None]))
        return sorted(found, key=lambda part: self.steady_ns(_within(*part)))

    def of_entry(self, entry: LogEntry) -> float:
        """Seconds since the beginning of an entry of the log."""
        return ns_to_s(entry.monotonic_ns - self._start)

    def holds(self, entry: LogEntry) -> bool:
        """Whether an entry's time can be one of this trial."""
        return _EARLIEST_NS <= entry.monotonic_ns - self._start <= _LONGEST_NS

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


def _within(first: int | None, end: int | None) -> int:
    """A time of a part, see `TrialClock.parts`."""
    if first is None:
        return 0 if end is None else end - 1
    return first + 1 if end is None else (first + end) // 2


def _eras(known: Sequence[tuple[int, int]]) -> list[_Era]:
    """`known`: pairs of a system's and a steady time in ns, in order of the latter."""
    eras: list[_Era] = []
    for stamp, steady in known:
        ahead = stamp - steady
        if eras and abs(ahead - eras[-1].ahead) <= _SET_NS:
            eras[-1] = _Era(ahead, eras[-1].first, steady)
        else:
            eras.append(_Era(ahead, steady, steady))
    longest = sorted(eras, key=lambda era: era.first - era.last)[:_MOST_ERAS]
    return sorted(longest, key=lambda era: era.first)
