# SPDX-License-Identifier: Apache-2.0
"""The figures of a trial: shares, precision, recall, latency, lost time, distance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ashtkd_ros.trials.judging import MARKED, RIGHT, UNJUDGED, UNKNOWN, WRONG, Judged
from ashtkd_ros.trials.node_status import counts_of, lowest_confidence, node_latency_ms
from ashtkd_ros.trials.recorded_tracks import driven
from ashtkd_ros.trials.recording import Recording
from ashtkd_ros.trials.stretches import (
    LostTime,
    longest,
    lost_times,
    metres_between,
    spans_on_map,
)

Figures = dict[str, float | int | None]


def figures_of(recording: Recording, judged: Sequence[Judged]) -> Figures:
    """Name → value, None where it is not known; shares are in [0, 1], see each part."""
    return {
        **_counts(recording, judged),
        **_shares(judged),
        **_recovery(lost_times(judged, recording.recorded)),
        **_distance(recording, judged),
        **_latency(recording),
    }


def _counts(recording: Recording, judged: Sequence[Judged]) -> Figures:
    confidences = [one.confidence for one in judged if one.place is not None]
    return {
        'images': recording.images,
        'answers': len(judged),
        'named': len(confidences),
        'named_share': _share(len(confidences), len(judged)),
        'median_confidence': float(np.median(confidences)) if confidences else None,
        'lowest_confidence': lowest_confidence(recording.statuses),
        'places_named': len({one.place for one in judged} - {None}),
    }


def _shares(judged: Sequence[Judged]) -> Figures:
    """Of the answers that could be judged: on the map, and off it.

    `precision`: share of the places named, on the map or off it, that are right. `recall`: share
    of the answers on the map that are right.
    """
    on = Counter(one.verdict for one in judged if one.on_map and one.verdict != UNJUDGED)
    off = Counter(one.verdict for one in judged if one.on_map is False)
    verdicts = Counter(one.verdict for one in judged)
    named = verdicts[RIGHT] + verdicts[WRONG]
    if not verdicts[RIGHT] and all(one.why == MARKED for one in judged if one.verdict == WRONG):
        named = 0  # marks alone never tell what is right
    return {
        'on_map': on.total(),
        'right': on[RIGHT],
        'wrong': on[WRONG],
        'unknown': on[UNKNOWN],
        'right_share': _share(on[RIGHT], on.total()),
        'wrong_share': _share(on[WRONG], on.total()),
        'unknown_share': _share(on[UNKNOWN], on.total()),
        'off_map': off[WRONG] + off[UNKNOWN],
        'off_map_wrong': off[WRONG],
        'off_map_unknown': off[UNKNOWN],
        'all_right': verdicts[RIGHT],
        'all_wrong': verdicts[WRONG],
        'unjudged': len(judged) - on.total() - off.total() - _elsewhere(judged),
        'precision': _share(verdicts[RIGHT], named),
        'recall': _share(on[RIGHT], on.total()),
    }


def _elsewhere(judged: Sequence[Judged]) -> int:
    """Answers judged by marks alone: it is not known whether the map has their place."""
    return sum(one.on_map is None and one.verdict in (RIGHT, WRONG) for one in judged)


def _recovery(lost: Sequence[LostTime]) -> Figures:
    lengths = np.array([one.end - one.start for one in lost])
    again = lengths[[one.ended == 'a right answer' for one in lost]] if lost else lengths
    return {
        'lost_times': len(lost),
        'lost_s': float(lengths.sum()),
        'longest_lost_s': float(lengths.max()) if len(lengths) else 0.0,
        'recovered': len(again),
        'recovery_median_s': float(np.median(again)) if len(again) else None,
    }


def _distance(recording: Recording, judged: Sequence[Judged]) -> Figures:
    """Metres between right answers on the map, along the way by odometry, else by the truth."""
    way = recording.tracks.way()
    if len(way[0]) < 2:
        placed = [one for one in judged if one.at is not None]
        at = np.array([one.at for one in placed]).reshape(-1, 2)
        way = driven(np.array([one.seconds for one in placed]), at)
    right = np.array([one.seconds for one in judged if one.verdict == RIGHT])
    apart = metres_between(right, spans_on_map(judged), way)
    return {
        'driven_m': float(way[1][-1]) if len(way[1]) else None,
        'metres_between_median': float(np.median(apart)) if len(apart) else None,
        'metres_between_longest': _known(longest(apart)),
    }


def _latency(recording: Recording) -> Figures:
    """Milliseconds from an image to its answer as both were recorded, and by the node's words."""
    cameras = recording.cameras
    took = [
        a.seconds - cameras[a.camera].seconds[a.row]
        for a in recording.answers
        if a.row is not None
    ]
    p50, p95 = (1000 * np.percentile(took, (50, 95))).tolist() if took else (None, None)
    told, counts = node_latency_ms(recording.statuses), counts_of(recording.statuses)
    has = bool(recording.statuses)
    return {
        'latency_p50_ms': p50,
        'latency_p95_ms': p95,
        'node_p50_ms': told[0] if told else None,
        'node_p95_ms': told[1] if told else None,
        'received': counts['images received'] if has else None,
        'dropped': counts['images dropped'] if has else None,
        'bad_images': counts['bad images'] if has else None,
        'camera_faults': counts['camera faults'] if has else None,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
