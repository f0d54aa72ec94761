# SPDX-License-Identifier: Apache-2.0
"""A student on validation sets as the node uses it: by its descriptor alone, and verified."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.evaluation.ground_truth import Tolerance, positives
from ashtkd_ros.evaluation.metrics import Metrics, calibration, retrieval_metrics
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.files.writing import check_output, write_errors, write_text
from ashtkd_ros.mapping.calibration import calibrated
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.thumbnails import make_thumbnail
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.recognition.matcher import Candidate, Matcher, MatcherConfig
from ashtkd_ros.recognition.recogniser import (
    BY_THE_MAP,
    MIN_CONFIDENCE,
    TARGET_PRECISION,
    least_confidence,
)
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source

DESCRIPTOR, VERIFIED = 'descriptor', 'verified'
TOLERANCE = Tolerance(metres=25.0, degrees=45.0, frames=2)
_DEPTH = 20  # places of a ranking


@dataclass(frozen=True)
class Answers:
    """The answers of one method for the Q queries of a set.

    `candidates`: the best 20 of each query, best first; `right`: the set's positives, bool (Q, N);
    `least`: the confidence from which on the map expects 99 of 100 answers to be right.
    """

    candidates: list[list[Candidate]]
    right: np.ndarray
    least: float = MIN_CONFIDENCE

    @property
    def ranking(self) -> np.ndarray:
        """Rows of the database, int (Q, K), best first."""
        return np.array([[c.place.row for c in found] for found in self.candidates])

    @property
    def first_right(self) -> np.ndarray:
        """Whether the best candidate is right, bool (Q,)."""
        return self.right[range(len(self.right)), self.ranking[:, 0]]

    def metrics(self) -> Metrics:
        """Recalls and precision; answers are trusted by their confidence."""
        return retrieval_metrics(self.ranking, self.confidence, self.right)

    @property
    def confidence(self) -> np.ndarray:
        """Of the best candidate, float (Q,)."""
        return np.array([found[0].confidence for found in self.candidates])


def confidence_figures(sets: Sequence[Answers]) -> tuple[float, float, float]:
    """Of all queries of the sets: calibration error, share whose confidence reaches its map's
    `least`, and share of these that are right."""
    confidence, right = (
        np.concatenate([getattr(answers, name) for answers in sets])
        for name in ('confidence', 'first_right')
    )
    known = np.concatenate([answers.confidence >= answers.least for answers in sets])
    share = float(right[known].mean()) if known.any() else math.nan
    return calibration(confidence, right).error, float(known.mean()), share


def looks_of(embedder: Embedder, frames: Sequence[Frame]) -> list[Look]:
    """What the network makes of each frame."""
    looks = in_parallel(embedder.describe, ((None, frame.pixels()) for frame in frames))
    bar = tqdm(looks, embedder.name, len(frames), unit='frame', delay=2, disable=None)
    return [look for _, look in bar]


def places_of(frames: Sequence[Frame]) -> list[Place]:
    """The frames as places of a map."""
    return [Place(i, f.stamp, f.order, f.pose, f.name, f.label) for i, f in enumerate(frames)]


def answer_set(folder: Path, embedder: Embedder) -> dict[str, Answers]:
    """Method → answers, of a set with the roles database and query; see `answer_frames`.

    The map calibrates its confidence as one that `build_map` makes.
    """
    mapped, queries = read_source(folder, 'database'), read_source(folder, 'query')
    looks = [looks_of(embedder, frames) for frames in (mapped, queries)]
    return answer_frames(embedder, mapped, looks[0], queries, looks[1], calibrates=True)


def answer_frames(
    embedder: Embedder,
    mapped: Sequence[Frame],
    looks: Sequence[Look],
    queries: Sequence[Frame],
    seen: Sequence[Look],
    calibrates: bool = False,
) -> dict[str, Answers]:
    """Method → answers for queries in a map, each with what the network makes of them.

    A model without local features has no method `verified`. `calibrates`: whether the map fits its
    confidence to its own pictures.
    """
    places = places_of(mapped)
    local = np.stack([look.local for look in looks]) if embedder.local else None
    descriptors = np.stack([look.descriptor for look in looks])
    place_map = PlaceMap.build(descriptors, places, embedder, local=local)
    if calibrates:
        place_map = self_calibrated(place_map, embedder, mapped)
    least = least_confidence(place_map.info, BY_THE_MAP, TARGET_PRECISION)
    right = positives(queries, places, TOLERANCE)
    configs = {DESCRIPTOR: MatcherConfig(top_k=_DEPTH, verify_top=0)}
    if embedder.local:
        configs[VERIFIED] = MatcherConfig(top_k=_DEPTH)
    answers = {}
    for method, config in configs.items():
        matcher = Matcher(place_map, config)
        candidates = [matcher.answer(look).candidates for look in seen]
        answers[method] = Answers(candidates, right, least)
    return answers


def self_calibrated(place_map: PlaceMap, embedder: Embedder, mapped: Sequence[Frame]) -> PlaceMap:
    """The map with a confidence that is fitted to its pictures, as `build_map` fits it."""
    found = calibrated(place_map, embedder, lambda place: _thumbnail(mapped[place.row]))
    place_map.info = place_map.info.calibrated(found.coefficients, found.trust)
    return place_map


def _thumbnail(frame: Frame) -> np.ndarray:
    """The picture that a map would keep of a frame, uint8 RGB."""
    data = np.frombuffer(make_thumbnail(*frame.pixels()), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def recall_table(found: dict[str, dict[str, Answers]]) -> list[str]:
    """Lines of a table: a row a set, and the mean; for each method R@1, R@5, R@10 in % and AP."""
    methods = list(next(iter(found.values())))
    lines = [f'{"":>20}' + ''.join(f'   {method:^26}' for method in methods)]
    lines.append(f'{"":>20}' + '     R@1    R@5   R@10    AP ' * len(methods))
    rows = {}
    for name, answers in found.items():
        metrics = [answers[method].metrics() for method in methods]
        rows[name] = np.array(
            [
                [*(100 * m.recall.get(n, 1.0) for n in (1, 5, 10)), m.average_precision]
                for m in metrics
            ]
        )
    rows['mean'] = np.mean(list(rows.values()), axis=0)
    for name, row in rows.items():
        cells = ''.join(f'  {a:6.1f} {b:6.1f} {c:6.1f} {ap:6.3f}' for a, b, c, ap in row)
        lines.append(f'{name:>20}{cells}')
    return lines


def write_rankings(path: Path, found: dict[str, dict[str, Answers]]) -> None:
    """Write {set: {method: the first 20 database rows of each query}} as JSON."""
    values = {
        name: {method: a.ranking.tolist() for method, a in answers.items()}
        for name, answers in found.items()
    }
    with write_errors(path):
        write_text(path, json.dumps(values))


def check_rankings(path: Path) -> None:
    """VprError where the rankings may not be written."""
    check_output(path, lambda data: bool(json_keys(data)) and b'"descriptor": [[' in data)
