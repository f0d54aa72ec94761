# SPDX-License-Identifier: Apache-2.0
"""Which kind of index a map gets: by its size and the memory it may take, said in a line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.index_kinds import FLAT, KINDS, estimated_bytes
from ashtkd_ros.text import counted

AUTO = 'auto'
CHOICES = (AUTO, *KINDS)
MOST_EXACT = 50_000  # places up to which all are compared
DEFAULT_MB = 600.0  # of 10^6 bytes: a million places with 256 numbers by fp16
LARGE = ('fp16', 'sq8', 'pq', 'binary')  # for more places: the first that fits the memory
_MB = 1e6
_BY_NAME = 'asked for by name'
# At the end of why a kind was chosen by the memory it may take
_LIMIT = re.compile(r' of (\d{1,12}(?:\.\d{1,9})?(?:e[+-]\d\d)?) MB\Z')


@dataclass(frozen=True)
class IndexOptions:
    """How descriptors are indexed.

    `kind`: one of `CHOICES`; `memory_mb`: the most memory that the index may take in use, in 10^6
    bytes, None: `DEFAULT_MB` where the kind is to be chosen, else no limit.
    """

    kind: str = AUTO
    memory_mb: float | None = None


def like(kind: str, why: str | None) -> IndexOptions | None:
    """The options for a map that is made of one with an index of this kind, and why it was chosen:
    a kind that was asked for stays, else it is chosen anew for the same memory; None where nobody
    ever chose."""
    if why is None:
        return None
    if why == _BY_NAME:
        return IndexOptions(kind)
    found = _LIMIT.search(why)
    return IndexOptions(memory_mb=float(found[1]) if found else None)


def choose(count: int, size: int, options: IndexOptions) -> tuple[str, str]:
    """Kind of index for `count` places with descriptors of `size` numbers, and why, a line.

    VprError where no such index fits the memory.
    """
    limit = options.memory_mb
    if options.kind != AUTO:
        if limit is not None:
            _check(options.kind, count, size, limit)
        return options.kind, _BY_NAME
    limit = DEFAULT_MB if limit is None else limit
    small = count <= MOST_EXACT
    kinds = (FLAT, *LARGE) if small else LARGE
    fitting = [kind for kind in kinds if estimated_bytes(kind, count, size) <= limit * _MB]
    if not fitting:
        _check(min(kinds, key=lambda kind: estimated_bytes(kind, count, size)), count, size, limit)
    kind = fitting[0]
    why = f'{counted(count, "place")}, {"at most" if small else "more than"} {MOST_EXACT}'
    too_large = ', '.join(
        f'{k} would take {estimated_bytes(k, count, size) / _MB:.3g} MB'
        for k in kinds[: kinds.index(kind)]
    )
    takes = f'{kind} takes {estimated_bytes(kind, count, size) / _MB:.3g} of {limit:g} MB'
    return kind, '; '.join(filter(None, [why, too_large, takes]))


def _check(kind: str, count: int, size: int, limit: float) -> None:
    needed = estimated_bytes(kind, count, size) / _MB
    if needed > limit:
        raise VprError(
            f'an index of kind {kind} for {counted(count, "place")} takes {needed:.3g} MB, but '
            f'--memory of build_map or pull allows {limit:g}; make the map with more, or of fewer '
            'places'
        )
