# SPDX-License-Identifier: Apache-2.0
"""Fit the confidence of a model, the probability that its best match is right, on training sets.

It is a logistic regression on the similarity and the margin of the best match, and of a verified
one also on its lead and its agreement. Which pictures show the same place is told by the
`positives` of the training sets. The pictures of each set go in turn to a map and to the queries.
The queries are degraded as in training, and a third of the places is left out of the map, so that
there are queries of unknown places too.

    python -m tools.training.calibrate models/ashtkd_student.onnx --data DATA

This command fits the confidence of a finished model again; tools.training.export does it as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.metrics import calibration
from ashtkd_ros.files.writing import whole_file
from ashtkd_ros.maps.place_map import MapInfo, Place, PlaceMap
from ashtkd_ros.network.confidence import (
    DESCRIPTOR,
    VERIFIED,
    check_coefficients,
    probability,
)
from ashtkd_ros.network.embedder import CONFIDENCE_KEY, Embedder
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.traverses.image_folder import file_frame
from tools.training.config import SetsSource, Source, read_config
from tools.training.data.augment import degrade
from tools.training.data.sources import PLACE_RULES, set_members

# Right on a walk: within so many radii in order, twice what teaches as in the validation sets.
_RADII = 2
_ELSEWHERE = 100  # in `order`, between walks or places: so far apart that none leads to another


@dataclass(frozen=True)
class Samples:
    """One row a query: what is known of the best match, float (N,) by name; right bool (N,)."""

    known: dict[str, np.ndarray]
    right: np.ndarray

    def rows(self) -> list[dict[str, float]]:
        """What is known, query by query."""
        columns = (column.tolist() for column in self.known.values())
        return [dict(zip(self.known, row, strict=True)) for row in zip(*columns, strict=True)]


def collect(
    embedder: Embedder, data: Path, sources: Iterable[Source], verified: bool, seed: int = 0
) -> Samples | None:
    """Match the queries of every set under `data` whose places `sources` tell to its own map.

    `verified`: by local features too. None where there is no such set.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for source in sources:
        for name, positives in source.positives.items() if isinstance(source, SetsSource) else ():
            if positives in PLACE_RULES and (data / name / 'index.csv').is_file():
                reach = _RADII * source.radius
                rows += _match_set(embedder, data / name, positives, reach, verified, rng)
    if not rows:
        return None
    *known, right = np.array(rows).T
    names = (VERIFIED if verified else DESCRIPTOR)[:-1]
    return Samples(dict(zip(names, known, strict=True)), right.astype(bool))


def _match_set(
    embedder: Embedder,
    folder: Path,
    positives: str,
    reach: float,
    verified: bool,
    rng: np.random.Generator,
) -> Iterator[tuple]:
    walk, groups = positives == 'neighbours', set_members(folder, positives)
    if not walk:
        groups.pop('', None)
    frames = []
    for number, (label, members) in enumerate(groups.items()):
        for order, path in members:
            at = number * _ELSEWHERE + (len(frames) if walk else 0)
            frames.append((order, file_frame(path, float(len(frames)), at, None, label)))
    mapped = [f for i, f in enumerate(frames) if i % 2 == 0 and (i // 30) % 3 != 2]
    if len(groups) < 2 and not walk or len(mapped) < 2:  # a query could be taken for nothing else
        return
    places = [Place(i, f.stamp, f.order, None, f.name, f.label) for i, (_, f) in enumerate(mapped)]
    looks = [embedder.describe(f.read()) for _, f in mapped]
    local = np.stack([look.local for look in looks]) if verified else None
    descriptors = np.stack([look.descriptor for look in looks])
    place_map = PlaceMap.build(descriptors, places, embedder, local=local)
    place_map.info = MapInfo('map', place_map.info.model)
    matcher = Matcher(place_map, MatcherConfig(top_k=1))
    for order, frame in frames[1::2]:
        best = matcher.answer(embedder.describe(degrade(frame.read(), rng))).candidates[0]
        near = not walk or abs(mapped[best.place.id][0] - order) <= reach
        checked = (best.check.lead, best.check.agreement) if verified else ()
        yield best.similarity, best.margin, *checked, near and best.place.label == frame.label


def fit(samples: Samples, ridge: float = 1e-3, steps: int = 50) -> dict[str, float]:
    """Coefficients of the known values, and `offset`: Newton's method on the penalised
    log-likelihood."""
    x = np.column_stack([*samples.known.values(), np.ones(len(samples.right))])
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-x @ weights))
        gradient = x.T @ (samples.right - p) - ridge * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(weights))
        weights = weights + np.linalg.solve(hessian, gradient)
    return dict(zip((*samples.known, 'offset'), map(float, weights), strict=True))


def calibrate(model: Path, data: Path, sources: Iterable[Source]) -> dict[str, float]:
    """Fit the confidence of a model file and write it into its metadata; returns the figures.

    Without a set under `data` that has positives in `sources`, the file stays as it is, and the
    result is empty.
    """
    embedder, sources = Embedder(model), list(sources)
    samples = collect(embedder, data, sources, verified=False)
    if samples is None:
        return {}
    coefficients, judged = fit(samples), [samples]
    if embedder.local:
        judged.append(collect(embedder, data, sources, verified=True))
        coefficients |= {f'verified_{k}': v for k, v in fit(judged[1]).items()}
    try:
        check_coefficients(coefficients)
    except ValueError as error:
        raise VprError(f'{data}: {error}; give more sets with positives') from error
    names = ('calibration error (training)', 'verified')
    measured = {n: _error(s, coefficients) for n, s in zip(names, judged, strict=False)}
    proto = onnx.load(str(model))
    metadata = {p.key: p.value for p in proto.metadata_props}
    if CONFIDENCE_KEY in metadata:
        measured = {'before': _error(samples, json.loads(metadata[CONFIDENCE_KEY])), **measured}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {**metadata, CONFIDENCE_KEY: json.dumps(coefficients)})
    with whole_file(model, follow_links=False) as draft:
        onnx.save(proto, str(draft))
    return {**measured, **coefficients}


def _error(samples: Samples, coefficients: dict[str, float]) -> float:
    confidence = np.array([probability(known, coefficients) for known in samples.rows()])
    return calibration(confidence, samples.right).error


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'model', type=Path, help='exported student (.onnx); its metadata are replaced'
    )
    parser.add_argument(
        '--data', type=Path, required=True, help='folder of training sets, each with an index.csv'
    )
    parser.add_argument(
        '--config',
        type=Path,
        default=Path('config/train/student.yaml'),
        help='settings file whose `positives` say which pictures show the same place '
        '(default: %(default)s)',
    )
    args = parser.parse_args(argv)
    measured = calibrate(args.model, args.data, read_config(args.config).sources)
    if not measured:
        raise VprError(
            f'{args.data}: has no set with `positives` in {args.config}; add some to its sources'
        )
    print(f'{args.model}: ' + ', '.join(f'{k} {v:.5g}' for k, v in measured.items()))
    return 0


if __name__ == '__main__':
    run_command(main)
