# SPDX-License-Identifier: Apache-2.0
"""Stretches of a trial in which something failed, and why; how long it was lost, and recovered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise

import numpy as np

from ashtkd_ros.trials.judging import RIGHT, UNJUDGED, UNKNOWN, WRONG, Judged
from ashtkd_ros.trials.recording import GAP_S, Recording
from ashtkd_ros.trials.truth import UNPLACED

CAMERA_GONE, SILENT, UNRECORDED = 'camera stopped', 'node silent', 'nothing recorded'
_BRIDGE_S = 1.0  # so short a success does not end a stretch
_LEAST_S, _LEAST = 1.0, 3  # seconds or answers, below which a failure is no stretch
_PAUSES, _SILENCE_S = 5.0, 3.0
_FIRST_IMAGE_S, _FIRST_ANSWER_S = 15.0, 60.0  # after a recorder or a node began
_FAILED = 'failed'
LOST_S = 5.0  # without a right answer: lost


@dataclass(frozen=True)
class Stretch:
    """From `start` to `end`, in seconds of the trial.

    `what`: WRONG, UNKNOWN or UNJUDGED, by most of its answers, or why there are no answers;
    `why`: reason → number of answers, the commonest first; `camera`: of several, or empty; `at`:
    metres, the middle, or None; `judged`: an answer in the middle, None without answers.
    """

    start: float
    end: float
    what: str
    why: dict[str, int] = field(default_factory=dict)
    camera: str = ''
    at: tuple[float, float] | None = None
    judged: Judged | None = None

    @property
    def reason(self) -> str:
        """The commonest one."""
        return next(iter(self.why), self.what)


@dataclass(frozen=True)
class LostTime:
    """Without a right answer for longer than LOST_S where the map has places.

    `ended`: "a right answer", "it left the map", "the truth ended" or "the trial ended".
    """

    start: float
    end: float
    ended: str


def chief(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """So many of them, in order: what failed before what could not be judged."""
    by_weight = sorted(stretches, key=lambda s: s.what == UNJUDGED)
    return sorted(by_weight[:most], key=lambda s: s.start)


def failures(judged: Sequence[Judged]) -> list[Stretch]:
    """Stretches of answers that failed, or could not be judged, of each camera, in order."""
    found = []
    cameras = dict.fromkeys(one.answer.topic for one in judged)
    for camera in cameras:
        own = [one for one in judged if one.answer.topic == camera]
        name = camera if len(cameras) > 1 else ''
        for what, part in chain.from_iterable(map(_runs, _pieces(own))):
            seconds = part[-1].seconds - part[0].seconds
            if what and (seconds >= _LEAST_S or len(part) >= _LEAST):
                found.append(_stretch(what, part, name))
    return sorted(found, key=lambda stretch: stretch.start)


def _pieces(judged: Sequence[Judged]) -> Iterator[Sequence[Judged]]:
    """Answers between which there is no silence: what happened in one is not known."""
    late = [
        k for k, (a, b) in enumerate(pairwise(judged), 1) if b.seconds - a.seconds > _SILENCE_S
    ]
    for first, end in pairwise([0, *late, len(judged)]):
        yield judged[first:end]


def _kind(one: Judged) -> str:
    """WRONG, UNKNOWN or UNJUDGED; empty for an answer that is as it should be."""
    if one.verdict == UNJUDGED or one.why in UNPLACED:
        return UNJUDGED
    if one.verdict == WRONG:
        return WRONG
    # Where nobody knows whether the map has a place, unknown is all that can be told.
    return UNKNOWN if one.verdict == UNKNOWN and one.on_map is not False else ''


def _runs(judged: Sequence[Judged]) -> Iterator[tuple[str, list[Judged]]]:
    """What failed in a row: failures with short successes between them are one run."""
    runs: list[tuple[str, list[Judged]]] = []
    for group, members in groupby(judged, key=lambda one: _group(_kind(one))):
        part = list(members)
        before = runs[-1][0] if runs else None
        short = part[-1].seconds - part[0].seconds < _BRIDGE_S
        if before == group or (before == _FAILED and not group and short):
            runs[-1][1].extend(part)
        else:
            runs.append((group, part))
    for group, part in runs:
        while part and group and not _kind(part[-1]):
            part.pop()
        kinds = Counter(kind for one in part if (kind := _kind(one)))
        yield (kinds.most_common(1)[0][0] if group else ''), part


def _group(kind: str) -> str:
    return _FAILED if kind in (WRONG, UNKNOWN) else kind


def _stretch(what: str, part: Sequence[Judged], camera: str) -> Stretch:
    bad = [one for one in part if _kind(one)]
    why = dict(Counter(one.why for one in bad).most_common())
    placed = [one for one in bad if one.at is not None]
    at = placed[len(placed) // 2].at if placed else None
    likely = [one for one in bad if one.why == next(iter(why))]
    return Stretch(
        part[0].seconds, part[-1].seconds, what, why, camera, at, likely[len(likely) // 2]
    )


def silences(recording: Recording) -> list[Stretch]:
    """When nothing was recorded, a camera sent no images, or a node answered none."""
    spans = sorted(span for span in recording.recorded if span[1] > span[0])
    found = [
        Stretch(a[1], b[0], UNRECORDED)
        for a, b in zip(spans, spans[1:], strict=False)
        if b[0] - a[1] > GAP_S
    ]
    for name, camera in recording.cameras.items():
        own = name if len(recording.cameras) > 1 else ''
        images = np.array(camera.seconds)
        limit = max(_PAUSES * camera.usual_s, GAP_S)
        pauses = _pauses(images, spans, limit, _FIRST_IMAGE_S) if len(images) > 2 else ()
        found += [Stretch(*pause, CAMERA_GONE, camera=own) for pause in pauses]
        answers = np.array([a.seconds for a in recording.answers if a.camera == name])
        if not len(answers):
            continue
        usual = float(np.median(np.diff(answers))) if len(answers) > 2 else 0.0
        limit = max(_PAUSES * usual, _SILENCE_S)
        for start, end in _pauses(answers, spans, limit, _FIRST_ANSWER_S):
            between = images[(images > start) & (images < end)]
            if len(between) and between[-1] - between[0] > limit - 1.0:
                found.append(Stretch(float(between[0]), end, SILENT, camera=own))
    return sorted(found, key=lambda stretch: stretch.start)


def _pauses(
    at: np.ndarray, spans: Sequence[tuple[float, float]], limit: float, patience: float
) -> Iterator[tuple[float, float]]:
    """Pauses longer than `limit` between moments (N,) that are within one of the spans.

    `patience`: at the begin of a span, when a recorder has just begun to listen.
    """
    for first, last in spans:
        inside = np.sort(at[(at >= first) & (at <= last)])
        if not len(inside):
            continue
        begin = [first] if inside[0] - first > patience else []
        edges = np.concatenate([begin, inside, [last]])
        for k in np.flatnonzero(np.diff(edges) > limit).tolist():
            yield float(edges[k]), float(edges[k + 1])


def lost_times(
    judged: Sequence[Judged],
    spans: Sequence[tuple[float, float]],
    longest_s: float = LOST_S,
) -> list[LostTime]:
    """When there was no right answer for longer than `longest_s`, though the map has places.

    `spans`: in which something was recorded, in seconds; between them nothing is known.
    """
    found: list[LostTime] = []
    for first, last in spans:
        inside = (one for one in judged if first <= one.answer.seconds <= last)
        found += _lost_within(sorted(inside, key=lambda one: one.seconds), last)
    return [lost for lost in found if lost.end - lost.start > longest_s]


def _lost_within(judged: Sequence[Judged], end: float) -> Iterator[LostTime]:
    """From each right answer, or the first one on the map, to the next, however short."""
    since = None
    for one in judged:
        if one.verdict == RIGHT:
            if since is not None:
                yield LostTime(since, one.seconds, 'a right answer')
            since = one.seconds
        elif one.on_map is None or one.verdict == UNJUDGED or one.on_map is False:
            if since is not None:
                off = one.on_map is False
                yield LostTime(since, one.seconds, 'it left the map' if off else 'the truth ended')
            since = None
        elif since is None:
            since = one.seconds
    if since is not None:
        yield LostTime(since, end, 'the trial ended')


def metres_between(
    right: np.ndarray, on_map: np.ndarray, way: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Metres driven from one right answer to the next, float64 (K,), of those on the map alone.

    `right`: seconds of right answers, (R,); `on_map`: spans (S, 2) of seconds on the map; `way`:
    seconds and metres driven by then, see `recorded_tracks.driven`. At the ends of a span the way
    counts as well: what is missing there was missing.
    """
    seconds, metres = way
    if len(seconds) < 2:
        return np.zeros(0)
    found = []
    for first, last in on_map.tolist():
        inside = right[(right >= first) & (right <= last)]
        moments = np.concatenate([[first], inside, [last]])
        found.append(np.diff(np.interp(moments, seconds, metres)))
    apart = np.concatenate(found) if found else np.zeros(0)
    return apart[apart > 0]


def spans_on_map(judged: Sequence[Judged]) -> np.ndarray:
    """From when to when answers were on the map, float64 (S, 2) in seconds."""
    spans = []
    for on_map, part in groupby(judged, key=_judged_on_map):
        members = list(part)
        if on_map:
            spans.append((members[0].seconds, members[-1].seconds))
    return np.array(spans, float).reshape(-1, 2)


def _judged_on_map(one: Judged) -> bool:
    return bool(one.on_map) and one.verdict != UNJUDGED


def longest(values: np.ndarray) -> float:
    """The largest, NaN for none."""
    return float(values.max()) if len(values) else math.nan
