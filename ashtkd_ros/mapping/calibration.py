# SPDX-License-Identifier: Apache-2.0
"""How far the answers of a map can be trusted, learned from the map itself, without labels.

Pictures of its places under strong synthetic change (night, weather, blur, occlusion, another
viewpoint) are asked about twice: in the whole map, and in the map without the neighbourhood of the
place, as if the robot had never been there. A logistic regression tells the right answers from the
others. No image that is asked about later has a part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ashtkd_ros.images.synthetic_change import UNIT, degrade, draw_corners, warped
from ashtkd_ros.mapping.logistic_regression import logistic_regression
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.confidence import (
    DESCRIPTOR,
    FEWEST,
    LIMITED,
    LIMITS,
    ON_THE_MAP,
    VERIFIED,
    VERIFIED_PREFIX,
    check_coefficients,
    limited,
    probability,
)
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig

PRECISIONS = (0.9, 0.95, 0.98, 0.99, 0.995)
_EVERY, _LEAST, _MOST = 10, 40, 300  # of the places one is asked about; how many at least, at most
_FEWEST_OF_A_KIND = 8  # answers that are right, and about places that the map lacks
LEAST_ELSEWHERE = 8  # places that must be left where a neighbourhood is hidden
_SEEN_FROM_ELSEWHERE, _SIDE = 0.7, 224  # share; pixels of a changed picture
_EVEN = 0.5  # what is less probable than not is never accepted
_ABOVE = 1e-4  # the confidence of answers about what was never seen
_START_WEIGHT = 4.0  # of each point of the model's own confidence, in answers
_PENALTY = 0.01  # of the square of a slope, halved, in answers


@dataclass(frozen=True)
class Answered:
    """One answer: what is known of it, whether it is right, whether the map had the place."""

    known: dict[str, float]
    right: bool
    on_the_map: bool


@dataclass(frozen=True)
class Calibrated:
    """The numbers of the confidence for a map, and from where on it can be trusted.

    `trust`: for each of `PRECISIONS` that can be reached, or else for the highest precision that
    can, a table with `precision`, `min_confidence` and `recall`, the share of the right answers
    that is expected to reach it; empty where the map tells too little.
    """

    coefficients: dict[str, float]
    trust: list[dict[str, float]]


def calibrated(
    place_map: PlaceMap,
    embedder: Embedder,
    picture: Callable[[Place], np.ndarray | None],
    workers: int = 0,
    seed: int = 0,
) -> Calibrated:
    """The calibration of a map; the model's own where the map tells too little.

    `picture`: of a place, uint8 RGB (H, W, 3), None where there is none.
    """
    start = place_map.info.calibration
    unknown = Calibrated(dict(start), [])
    if len(place_map.places) < FEWEST:
        return unknown
    answers = ask_itself(place_map, embedder, picture, workers, seed)
    try:
        return calibrated_by(answers, start) or unknown
    except ValueError:  # too few answers, or all alike
        return unknown


def calibrated_by(
    answers: Sequence[tuple[Answered, Answered | None]], start: Mapping[str, float]
) -> Calibrated | None:
    """The calibration by these answers, None where they tell nothing; ValueError where it makes no
    sense, see `check_coefficients`."""
    best = [verified or descriptor for descriptor, verified in answers]
    elsewhere = sum(not a.on_the_map for a in best)
    if min(sum(a.right for a in best), elsewhere) < _FEWEST_OF_A_KIND:
        return None
    found = check_coefficients(coefficients_of([answers], start))
    return Calibrated(found, trust_of(best, found)) if found else None


def trust_of(
    answers: Sequence[Answered], coefficients: Mapping[str, float]
) -> list[dict[str, float]]:
    """Where answers reach each of `PRECISIONS`, see `Calibrated`.

    From `min_confidence`, at least 0.5, on the expected precision is that high, and of the answers
    about places that the map lacks no more is accepted than may be wrong.
    """
    there = np.array([a.on_the_map for a in answers], bool)
    if there.all() or not there.any():
        return []
    confidence = np.array([probability(a.known, coefficients) for a in answers])
    order = np.argsort(-confidence, kind='stable')
    weights = np.array(_weights(answers, 1.0))[order]
    right = np.where(there[order], weights * confidence[order], 0.0)
    steps = np.unique(-confidence)  # the highest confidence first
    last = np.searchsorted(-confidence[order], steps, side='right') - 1
    expected, taken = (np.cumsum(x)[last] for x in (right, weights))
    precise, table = expected / taken, []
    reached = [p for p in PRECISIONS if p <= precise.max()]
    for precision in reached or [math.floor(100 * precise.max()) / 100]:
        fits = np.flatnonzero(precise >= precision)
        unseen = np.quantile(confidence[~there], max(precision, PRECISIONS[0])) + _ABOVE
        least = min(1.0, max(float(-steps[fits[-1]]), float(unseen), _EVEN))
        recall = min(1.0, float(right[confidence[order] >= least].sum() / right.sum()))
        if recall > 0 or not reached:
            table.append({'precision': precision, 'min_confidence': least, 'recall': recall})
    return table


def coefficients_of(
    maps: Sequence[Sequence[tuple[Answered, Answered | None]]], start: Mapping[str, float]
) -> dict[str, float]:
    """The numbers of the confidence, from what `ask_itself` gives of each map; {} without any."""
    plain = [[descriptor for descriptor, _ in answers] for answers in maps]
    found = fit(plain, DESCRIPTOR, '', start)
    if not found:
        return {}
    verified = [[answer for _, answer in answers if answer is not None] for answers in maps]
    return {**found, **fit(verified, VERIFIED, VERIFIED_PREFIX, start), LIMITED: 1.0}


def ask_itself(
    place_map: PlaceMap,
    embedder: Embedder,
    picture: Callable[[Place], np.ndarray | None],
    workers: int = 0,
    seed: int = 0,
) -> list[tuple[Answered, Answered | None]]:
    """Answers to changed pictures of some places, by the descriptor and verified, if they are.

    Several threads call `picture`.
    """
    rng = np.random.default_rng(seed)
    count = min(max(len(place_map.places) // _EVERY, _LEAST), _MOST)
    chosen = rng.permutation(len(place_map.places))[:count].tolist()
    matcher, answers = Matcher(place_map, MatcherConfig(top_k=1)), []
    seen = _look(embedder, place_map.local is not None)

    def look_at(place: int) -> list[Look]:
        return [seen(image, 'RGB') for image in changed_picture(picture, place_map, place, seed)]

    looks = in_parallel(look_at, ((place, (place,)) for place in chosen), workers)
    for place, look in ((place, look) for place, found in looks for look in found):
        near = frozenset(np.flatnonzero(matcher.near.of(place)).tolist())
        answers.append(ask_both(matcher, look, near))
        if len(place_map.places) - len(near) >= LEAST_ELSEWHERE:
            answers.append(ask_both(matcher, look, (), near))
    return answers


def changed_picture(
    picture: Callable[[Place], np.ndarray | None], place_map: PlaceMap, place: int, seed: int
) -> Iterable[np.ndarray]:
    """The picture of a place under strong change; nothing where there is none."""
    image, rng = picture(place_map.places[place]), np.random.default_rng((seed, place))
    if image is not None:
        corners = draw_corners(rng) if rng.random() < _SEEN_FROM_ELSEWHERE else UNIT
        yield degrade(warped(image, corners, _SIDE), rng)


def _look(embedder: Embedder, with_local: bool) -> Callable[[np.ndarray, str], Look]:
    if with_local:
        return embedder.describe
    return lambda image, order: Look(embedder.embed(image, order), None)


def ask_both(
    matcher: Matcher, look: Look, right: Collection[int], hidden: Collection[int] = ()
) -> tuple[Answered, Answered | None]:
    """The answers by the descriptor and verified, if it is; `right`: places that are right.

    `hidden`: places that the map is to lack.
    """
    descriptor = _ask(matcher, look, 0, right, hidden)
    if look.local is None or matcher.map.local is None:
        return descriptor, None
    verified = _ask(matcher, look, None, right, hidden)
    return descriptor, verified if 'lead' in verified.known else None


def _ask(
    matcher: Matcher, look: Look, top: int | None, right: Collection[int], hidden: Collection[int]
) -> Answered:
    best = matcher.answer(look, verify_top=top, hidden=hidden).candidates[0]
    return Answered(matcher.known(best), best.place.row in right, bool(right))


def fit(
    maps: Sequence[Sequence[Answered]],
    names: Sequence[str],
    prefix: str,
    start: Mapping[str, float],
) -> dict[str, float]:
    """Coefficients for `names`, with their prefix; {} where answers are all right or all wrong.

    Maps count alike; of each, answers on the map for `ON_THE_MAP` of its weight. The confidence by
    `start` is given as a few further answers, so that a small map has about that. `similarity` has
    no part: how similar two images of one place are differs too much from synthetic to real
    changes.
    """
    answers = [answer for of_map in maps for answer in of_map]
    right = [answer.right for answer in answers]
    if all(right) or not any(right):
        return {}
    used = [name for name in names if name in LIMITS]
    rows = [[limited(a.known)[name] for name in used] for a in answers]
    weights = [w for of_map in maps for w in _weights(of_map, len(answers) / len(maps))]
    for point in product(*(LIMITS[name] for name in used)) if prefix + names[0] in start else ():
        known = dict(zip(used, point, strict=True)) | {'similarity': 0.5}
        trust = probability(known, start)
        rows += [list(point)] * 2
        right += [True, False]
        weights += [_START_WEIGHT * trust, _START_WEIGHT * (1 - trust)]
    found = _rising(np.array(rows), np.array(right), np.array(weights))
    if found is None:
        return {}
    slopes = {**dict.fromkeys(names[:-1], 0.0), **dict(zip(used, found[:-1], strict=True))}
    return {prefix + name: value for name, value in {**slopes, names[-1]: found[-1]}.items()}


def _weights(answers: Sequence[Answered], total: float) -> list[float]:
    """Of the answers of a map, whose sum is `total`."""
    there = sum(answer.on_the_map for answer in answers)
    elsewhere = len(answers) - there
    shares = {True: ON_THE_MAP / max(there, 1), False: (1 - ON_THE_MAP) / max(elsewhere, 1)}
    return [total * shares[answer.on_the_map] for answer in answers]


def _rising(rows: np.ndarray, right: np.ndarray, weights: np.ndarray) -> list[float] | None:
    """Logistic regression of rows (N, C): C slopes, none of them falling, and the offset.

    What seems to speak against the right answer does so by chance, and has no part. None where
    nothing is left.
    """
    used = np.arange(rows.shape[1])
    while len(used):
        *slopes, offset = logistic_regression(rows[:, used], right, weights, _PENALTY)
        if min(slopes) >= 0:
            found = np.zeros(rows.shape[1] + 1)
            found[used], found[-1] = slopes, offset
            return found.tolist()
        used = used[np.array(slopes) >= 0]
    return None
