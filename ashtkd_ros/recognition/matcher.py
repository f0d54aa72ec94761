# SPDX-License-Identifier: Apache-2.0
"""From a descriptor to candidate places, each with its confidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.network.confidence import AT_MOST, FEWEST, LIMITS, check_coefficients, probability
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.candidate_search import CandidateSearch, Ranked
from ashtkd_ros.recognition.prior import Prior, PriorUse
from ashtkd_ros.recognition.verification import AT_ONCE, Verified, verify

_SHARPNESS = 2.0  # of the support that neighbours give each other: exp(2 * score)
_LEAST, _ROUNDING = 1e-4, 1e-9
_CROWD = 3 / 7  # near candidates for each one elsewhere, above which the near ones are crowded
_DEEPER = 4  # times as many pictures are looked at where those found are of too few places
_RIVALS = 15  # pictures elsewhere; where fewer are found, more are looked at
_DEEPEST = 1024  # pictures, beyond which no further ones are looked at for the sake of rivals
_LEAST_RIVALS = 10  # verified candidates elsewhere, below which the lead says nothing
_UNSEEN = 0.3  # similarity of a place that the map lacks, by the shipped networks
_OF_ANY_TWO = 0.1  # similarity of any two images, by the same


@dataclass(frozen=True)
class Candidate:
    """A place of the map at which the query may have been taken.

    `similarity`: inner product of the descriptors, in [-1, 1]; `margin`: similarity minus that of
    the best candidate elsewhere; `confidence`: probability that the place is right, in [0, 1];
    `check`: what the local features say of it, None where it is not verified; `few_elsewhere`:
    whether so few pictures of the map are elsewhere that the margin is that to a place of
    similarity 0.3 at least: the best of few is not like the image, whatever the image shows.
    """

    place: Place
    similarity: float
    margin: float
    confidence: float
    check: Check | None = None
    few_elsewhere: bool = False


@dataclass(frozen=True)
class Check:
    """What the local features say of a candidate.

    `score`: higher is better, comparable within one image alone; `lead`: support for the places
    near the candidate minus that for all elsewhere, both as scores; `agreement`: share of the
    picture that agrees with the displacement, in [0, 1]; `displacement`: shares of the height and
    the width by which the picture stands lower and further right in the map's picture; `rivals`:
    verified candidates elsewhere. With few of them any image has a high lead.
    """

    score: float
    lead: float
    agreement: float
    displacement: tuple[float, float]
    rivals: int = 0


@dataclass(frozen=True)
class Matches:
    """Where the image and the picture of the first candidate agree.

    `image`, `place`: float32 (M, 2), x and y of the matching positions as shares of the width and
    the height, in [0, 1].
    """

    image: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Answer:
    """The candidates for one image, best first.

    `matches`: of the first one, None where nothing was verified; `verify_s`: seconds that the
    verification took; `empty`: whether the image looks more like nothing than like any place;
    `prior`: what a prior has meant, None without one. Where no place lies within it, the
    candidates are those of the whole map, with confidence 0.
    """

    candidates: list[Candidate]
    matches: Matches | None = None
    verify_s: float = 0.0
    empty: bool = False
    prior: PriorUse | None = None

    @property
    def hopeless(self) -> bool:
        """Whether no candidate can be right, whatever it looks like."""
        return self.empty or (self.prior is not None and bool(self.prior.nowhere))


@dataclass(frozen=True)
class MatcherConfig:
    """How candidates are chosen.

    `top_k`: number of candidates. `verify_top`: how many of the most similar places are verified
    by local features, where the map has them; 0: none. Two places are neighbours, and so no rivals
    for the margin, if they are within `neighbour_m` metres and `neighbour_degrees` of turn, or
    without poses within `neighbour_frames` frames of one traverse. `least_rivals`: verified
    candidates elsewhere; with fewer the confidence is the descriptor's.
    """

    top_k: int = 5
    neighbour_m: float = 10.0
    neighbour_degrees: float = 45.0
    neighbour_frames: int = 5
    verify_top: int = 30
    least_rivals: int = _LEAST_RIVALS


class Matcher:
    """Top-k search in a map, verified by local features where map and image have them.

    confidence = sigmoid(weighted sum of what is known of the candidate), see `confidence`. The map
    has the weights from its model; tools.training.calibrate fits them on revisited places of the
    training data. Without them the confidence is the similarity, limited to [0, 1].
    """

    # Rivals are searched among so many candidates; later ones change no margin that matters.
    _DEPTH = 64

    def __init__(self, place_map: PlaceMap, config: MatcherConfig | None = None):
        self.map, self.config = place_map, config or MatcherConfig()
        self.fault = ''  # why the last image was not verified though the map has local features
        try:
            self._coefficients = check_coefficients(place_map.info.calibration)
        except ValueError as error:
            raise VprError(f'{error}; export the model or build the map anew') from error
        self.near = Neighbourhood(place_map.places, self.config)
        self._search = CandidateSearch(place_map)
        self._is_small = len(place_map.places) < FEWEST

    def match(self, descriptor: np.ndarray, top_k: int | None = None) -> list[Candidate]:
        """float32 (D,) of length 1 → at most `top_k` candidates, most similar first."""
        return self.answer(Look(descriptor, None), top_k).candidates

    def answer(
        self,
        look: Look,
        top_k: int | None = None,
        verify_top: int | None = None,
        hidden: Collection[int] = (),
        every_picture: bool = False,
        prior: Prior | None = None,
    ) -> Answer:
        """What the network made of an image → at most `top_k` candidates, best first.

        The `verify_top` most similar places come first, by their scores. Where the map's local
        features cannot be read, nothing is verified, and `fault` says why. `top_k` and
        `verify_top`: of this image alone, None: as configured. `hidden`: rows that the map is to
        lack, for this image. `every_picture`: whether each picture of a place is a candidate,
        not the best one alone. `prior`: candidates lie within it; how sure they are follows from
        the whole map.
        """
        count = top_k or self.config.top_k
        top = self.config.verify_top if verify_top is None else verify_top
        depth, least = max(self._DEPTH, count, top), 0 if every_picture else count
        search = partial(self._search, look.descriptor, top=top, hidden=hidden, prior=prior)
        found = self._with_rivals(self._deep_enough(search, depth, least))
        started = time.perf_counter()
        verified = self._verify(look.local, found)
        verify_s = time.perf_counter() - started
        checks: dict[int, Check] = {}
        if verified is not None:
            checks = self._checks(verified, found)
        order = self._order(found, checks, every_picture)[:count]
        matches = None
        if order[0] in checks:
            matches = _matches(verified, found.verified.index(order[0]), self.map.local.grid)
        empty = look.emptiness > found.similarities[0]
        answer = Answer([], matches, verify_s if checks else 0.0, empty, found.use)
        near = self.near.between([found.rows[at] for at in order], found.rows)
        for at, close in zip(order, near, strict=True):
            answer.candidates.append(self._candidate(at, found, close, checks.get(at), answer))
        return answer

    def _deep_enough(self, search: Callable[..., Ranked], depth: int, count: int) -> Ranked:
        """The `depth` most similar pictures, more where they are of fewer places than `count`, as
        in a map of many pictures a place, or nearly all of one spot, as in a dense map, and the
        map has others."""
        found, size = search(depth=depth), len(self.map.places)
        while depth < size and (
            self._lacks_places(found, depth, count) or self._lacks_rivals(found, depth)
        ):
            depth *= _DEEPER
            found = search(depth=depth)
        return found

    def _lacks_places(self, found: Ranked, depth: int, count: int) -> bool:
        places = self.map.places
        limited = found.use is not None and not found.use.ignored
        if not places.has_experiences or (limited and depth >= len(found.use.rows)):
            return False
        return len(np.unique(places.ids[np.array(found.rows)[found.answers]])) < count

    def _lacks_rivals(self, found: Ranked, depth: int) -> bool:
        """Whether nearly all are near the first answer, so that it would have no rivals."""
        if depth >= _DEEPEST:
            return False
        return int((~self._near_first(found)).sum()) < _RIVALS

    def _near_first(self, found: Ranked) -> np.ndarray:
        """bool (K,): which candidates are neighbours of the first answer."""
        first = int(np.argmax(found.answers))
        return self.near.between([found.rows[first]], found.rows)[0]

    def _with_rivals(self, found: Ranked) -> Ranked:
        """The same candidates; of the verified ones half are elsewhere than the first answer, as
        far as there are so many: in a dense map the most similar places would have no rivals, nor
        within a wide prior."""
        verified = np.array(found.verified, np.int64)
        if not len(verified):
            return found
        near = self._near_first(found)
        close, elsewhere = verified[near[verified]], verified[~near[verified]]
        lacking = max(len(verified) // 2 - len(elsewhere), 0)
        more = np.setdiff1d(np.flatnonzero(~near), elsewhere)[:lacking]
        # Neighbours outside of a prior cannot be the answer, so they go first.
        close = close[np.argsort(~found.answers[close], kind='stable')][: len(close) - len(more)]
        return replace(found, verified=np.sort([*close, *elsewhere, *more]).tolist())

    def _order(self, found: Ranked, checks: Mapping[int, Check], every_picture: bool) -> list[int]:
        """Ranks of the candidates, best first: the verified ones, then the others."""
        order = sorted(checks, key=lambda k: -checks[k].score)
        order += [k for k in range(len(found.rows)) if k not in checks]
        order = [k for k in order if found.answers[k]]
        if every_picture or not self.map.places.has_experiences:
            return order
        places = self.map.places.ids[found.rows].tolist()
        best = {places[k]: k for k in reversed(order)}
        return [k for k in order if best[places[k]] == k]

    def _verify(self, local: np.ndarray | None, found: Ranked) -> Verified | None:
        self.fault = ''
        if local is None or self.map.local is None or not found.verified:
            return None
        parts = self.map.local.parts([found.rows[k] for k in found.verified], AT_ONCE)
        similarities = np.float32([found.similarities[k] for k in found.verified])
        try:
            return verify(local, parts, similarities, self.map.local.grid)
        except VprError as error:
            self.fault = str(error)
            return None

    def _checks(self, verified: Verified, found: Ranked) -> dict[int, Check]:
        """By rank of the search: what the local features say of those that are verified."""
        scores = verified.scores.astype(float)
        support = np.exp(_SHARPNESS * (scores - scores.max()))
        near = self.near.among([found.rows[k] for k in found.verified])
        inside, rivals = near @ support, (~near).sum(axis=1)
        # Many near ones have much support by chance: then those elsewhere count for more.
        crowded = np.maximum(near.sum(axis=1) / np.maximum(rivals, 1) / _CROWD, 1.0)
        outside = (support.sum() - inside) * crowded
        leads = np.log((inside + _LEAST) / (outside + _LEAST)) / _SHARPNESS
        shifts = [tuple(shift) for shift in (verified.displacement / self.map.local.grid).tolist()]
        columns = (c.tolist() for c in (scores, leads, verified.agreement))
        rows = zip(*columns, shifts, rivals.tolist(), strict=True)
        return {k: Check(*values) for k, values in zip(found.verified, rows, strict=True)}

    def _candidate(
        self, at: int, found: Ranked, near: np.ndarray, check: Check | None, before: Answer
    ) -> Candidate:
        """The candidate of a rank, after those of the answer; `near` bool (K,), by rank: which
        are its neighbours."""
        rows, similarities = found.rows, found.similarities
        elsewhere = np.flatnonzero(~near)
        few = len(elsewhere) < FEWEST and self._has_few_elsewhere(rows[at])
        # Where all are near the worst of them is the rival, if the map has more; in the map of a
        # spot or of few places, a place that the map lacks.
        least = similarities[-1] if len(rows) < len(self.map.places) else -1.0
        least = max(least, _UNSEEN) if few else least
        margin = similarities[at] - max([similarities[k] for k in elsewhere[:1]] + [least])
        made = Candidate(self.map.places[rows[at]], similarities[at], margin, 0.0, check, few)
        if before.hopeless:
            return made
        confidence = probability(self.known(made), self._coefficients)
        if before.candidates:  # a later place is never more probable, whatever its rivals are
            confidence = min(confidence, before.candidates[-1].confidence)
        return replace(made, confidence=confidence)

    def _has_few_elsewhere(self, row: int) -> bool:
        """Whether few pictures of the map, hidden ones too, are elsewhere than this one; of a
        large map a thousand are looked at."""
        size = len(self.map.places)
        some = slice(None, None, -(-size // _DEEPEST))
        return int((~self.near.between([row], some)).sum()) < FEWEST

    def known(self, found: Candidate) -> dict[str, float]:
        """What the confidence of a candidate is made of, see `confidence.probability`."""
        known = {'similarity': found.similarity, 'margin': found.margin}
        check = found.check
        if check is not None and check.rivals >= self.config.least_rivals:
            known |= {'lead': check.lead, 'agreement': check.agreement}
        if self._is_small:
            known[AT_MOST] = found.margin
        elif found.few_elsewhere and found.similarity - _UNSEEN < LIMITS['margin'][1]:
            known[AT_MOST] = found.similarity - _UNSEEN
        elif found.similarity < _OF_ANY_TWO:
            known[AT_MOST] = found.similarity / _OF_ANY_TWO * LIMITS['margin'][1]
        return known


class Neighbourhood:
    """Whether two pictures, given by their rows, are neighbours: `near(i, j)`.

    They are of one place, or of places within `neighbour_m` metres, or without poses within
    `neighbour_frames` of one traverse; places of one name are, too. With poses they also look
    within `neighbour_degrees` the same way: what is behind the camera is another view. Headings of
    a satellite receiver do not count: while it stands, or its positions wander, they are anything.
    """

    def __init__(self, places: Sequence[Place], config: MatcherConfig):
        self._places, self._config = Places.of(places), config

    def __call__(self, i: int, j: int) -> bool:
        return bool(self.between([i], [j])[0, 0])

    def among(self, rows: Sequence[int]) -> np.ndarray:
        """bool (K, K): the same for every two of K rows."""
        return self.between(rows, rows)

    def of(self, i: int) -> np.ndarray:
        """bool (N,): which of all rows are neighbours of row i, itself too."""
        return self.between([i], slice(None))[0]

    def between(self, rows: Sequence[int], others: Sequence[int] | slice) -> np.ndarray:
        """bool (K, M): the same for K rows and M others, or all."""
        places, rows = self._places, np.asarray(rows, np.int64)
        others = others if isinstance(others, slice) else np.asarray(others, np.int64)

        def equal(column: np.ndarray) -> np.ndarray:
            return column[rows][:, None] == column[others]

        named = equal(places.names)
        if not places.all_posed:
            frames = np.abs(places.orders[rows][:, None] - places.orders[others])
            close = equal(places.traverses) & (frames <= self._config.neighbour_frames)
            return equal(places.ids) | named | close
        apart = places.positions[rows][:, None] - places.positions[others]
        close = np.linalg.norm(apart, axis=-1) <= self._config.neighbour_m
        least = np.cos(np.radians(self._config.neighbour_degrees)) - _ROUNDING
        turned = places.directions(rows) @ places.directions(others).T < least
        measured = np.isnan(places.geo[rows, 0])[:, None] & np.isnan(places.geo[others, 0])
        return equal(places.ids) | (named | close) & ~(turned & measured)


def _matches(verified: Verified, candidate: int, grid: tuple[int, int]) -> Matches:
    pairs = verified.matches(candidate)
    rows, columns = grid
    at = np.stack([(pairs % columns + 0.5) / columns, (pairs // columns + 0.5) / rows], axis=-1)
    return Matches(*at.astype(np.float32).transpose(1, 0, 2))
