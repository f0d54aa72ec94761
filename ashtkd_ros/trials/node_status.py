# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself on /diagnostics once a second, as a trial recorded it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_OF_A_NODE = ': place recognition'
COUNTS = ('images received', 'places published', 'images dropped', 'bad images', 'camera faults')
_OK = 0


@dataclass(frozen=True)
class NodeStatus:
    """One status of a node; numbers are NaN where they are not told.

    `seconds`: since the trial began; `lowest`: the confidence below which a place is unknown;
    `similarity` and `margin`: of the last image's best place; `refusal`: why that is unknown;
    `counts`: of COUNTS, since the node started; `trouble`: what is wrong with it, empty: nothing.
    """

    seconds: float
    node: str
    p50_ms: float
    p95_ms: float
    lowest: float
    similarity: float
    margin: float
    refusal: str
    counts: tuple[float, ...]
    trouble: str


def values_of(status) -> dict[str, str]:
    """Key → value of a DiagnosticStatus."""
    return {pair.key: pair.value for pair in status.values}


def node_status(status, seconds: float) -> NodeStatus | None:
    """What a DiagnosticStatus says, received at a time; None where it is not a node's."""
    if not status.name.endswith(_OF_A_NODE):
        return None
    told = values_of(status)
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    return NodeStatus(
        seconds,
        status.name.removesuffix(_OF_A_NODE),
        number_of(told, 'latency p50 ms'),
        number_of(told, 'latency p95 ms'),
        number_of(told, 'lowest confidence'),
        number_of(told, 'last similarity'),
        number_of(told, 'last margin'),
        told.get('last refusal', ''),
        tuple(number_of(told, key) for key in COUNTS),
        '' if level == _OK else status.message,
    )


def number_of(told: Mapping[str, str], key: str) -> float:
    """A finite number among the values of a status; NaN where it is not one."""
    try:
        value = float(told.get(key, 'nan'))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def lowest_confidence(statuses: Sequence[NodeStatus]) -> float | None:
    """The confidence below which places were unknown, as last told; None: never told."""
    told = [s.lowest for s in statuses if not math.isnan(s.lowest)]
    return told[-1] if told else None


def node_latency_ms(statuses: Sequence[NodeStatus]) -> tuple[float, float] | None:
    """Medians of the node's own p50 and p95, each of its last images; None: never told."""
    told = [(s.p50_ms, s.p95_ms) for s in statuses if not math.isnan(s.p50_ms + s.p95_ms)]
    return tuple(float(x) for x in np.median(told, axis=0)) if told else None


def counts_of(statuses: Iterable[NodeStatus]) -> dict[str, int]:
    """What was counted in the trial by all nodes, also where one was started again."""
    by_node: dict[str, list[NodeStatus]] = {}
    for status in statuses:
        by_node.setdefault(status.node, []).append(status)
    return {
        name: sum(_counted([s.counts[k] for s in of_node]) for of_node in by_node.values())
        for k, name in enumerate(COUNTS)
    }


def _counted(values: Sequence[float]) -> int:
    """How much a counter rose that may begin again at zero; its first value counts whole."""
    known = [int(v) for v in values if not math.isnan(v)]
    return sum(b - a if b >= a else b for a, b in pairwise([0, *known]))
