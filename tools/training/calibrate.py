# SPDX-License-Identifier: Apache-2.0
"""Fit the confidence of a model, the probability that its best match is right, on training sets.

Each set is a map that is asked about its own pictures, synthetically changed, as `build_map` asks
each map (`ashtkd_ros.mapping.calibration`). What comes of it is where the calibration of a map
starts; a map without pictures has it as it is. It is checked with true revisits: the pictures of
each set go in turn to a map and to the queries. The queries are degraded, and a third of the
places is left out of the map, so that there are queries of unknown places too.

    python -m tools.training.calibrate models/ashtkd_student.onnx --data DATA

This command fits the confidence of a finished model again; tools.training.export does it as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.metrics import calibration
from ashtkd_ros.files.writing import whole_file
from ashtkd_ros.images.synthetic_change import degrade
from ashtkd_ros.mapping.calibration import ask_itself, coefficients_of
from ashtkd_ros.maps.place_map import MapInfo, Place, PlaceMap
from ashtkd_ros.network.confidence import (
    DESCRIPTOR,
    VERIFIED,
    check_coefficients,
    probability,
)
from ashtkd_ros.network.embedder import CONFIDENCE_KEY, Embedder
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import file_frame
from tools.training.config import SetsSource, Source, read_config
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


def _sets(data: Path, sources: Iterable[Source]) -> Iterator[tuple[Path, str, float]]:
    """Folder, rule and reach of every set under `data` whose places `sources` tell."""
    for source in sources:
        for name, positives in source.positives.items() if isinstance(source, SetsSource) else ():
            if positives in PLACE_RULES and (data / name / 'index.csv').is_file():
                yield data / name, positives, _RADII * source.radius


class _Picture(NamedTuple):
    """A picture of known place: its order in its `group`, a place or a walk."""

    order: float
    group: int
    frame: Frame


def _pictures(folder: Path, positives: str) -> list[_Picture]:
    """Every picture of known place; nothing where there is but one place."""
    walk, groups = positives == 'neighbours', set_members(folder, positives)
    if not walk:
        groups.pop('', None)
        if len(groups) < 2:  # a query could be taken for nothing else
            return []
    frames = []
    for number, (label, members) in enumerate(groups.items()):
        for order, path in members:
            at = number * _ELSEWHERE + (len(frames) if walk else 0)
            name = label if not walk else ''
            frame = file_frame(path, float(len(frames)), at, None, name)
            frames.append(_Picture(order, number, frame))
    return frames


def _map_of(embedder: Embedder, frames: Sequence[Frame], verified: bool) -> PlaceMap:
    """A map of some frames, without a calibration."""
    pixels = ((None, frame.pixels()) for frame in frames)
    looks = [look for _, look in in_parallel(embedder.describe, pixels)]
    places = [Place(i, f.stamp, f.order, None, f.name, f.label) for i, f in enumerate(frames)]
    local = np.stack([look.local for look in looks]) if verified else None
    place_map = PlaceMap.build(
        np.stack([look.descriptor for look in looks]), places, embedder, local=local
    )
    place_map.info = MapInfo('map', place_map.info.model)
    return place_map


def collect(
    embedder: Embedder, data: Path, sources: Iterable[Source], verified: bool, seed: int = 0
) -> Samples | None:
    """Match the queries of every set under `data` whose places `sources` tell to its own map.

    `verified`: by local features too. None where there is no such set.
    """
    rng, rows = np.random.default_rng(seed), []
    for folder, positives, reach in _sets(data, sources):
        rows += _match_set(embedder, _pictures(folder, positives), positives, reach, verified, rng)
    if not rows:
        return None
    *known, right = np.array(rows).T
    names = (VERIFIED if verified else DESCRIPTOR)[:-1]
    return Samples(dict(zip(names, known, strict=True)), right.astype(bool))


def _match_set(
    embedder: Embedder,
    pictures: list[_Picture],
    positives: str,
    reach: float,
    verified: bool,
    rng: np.random.Generator,
) -> Iterator[tuple]:
    mapped = [p for i, p in enumerate(pictures) if i % 2 == 0 and (i // 30) % 3 != 2]
    if len(mapped) < 2:
        return
    place_map = _map_of(embedder, [p.frame for p in mapped], verified)
    matcher = Matcher(place_map, MatcherConfig(top_k=1))
    for asked in pictures[1::2]:
        look = embedder.describe(degrade(asked.frame.read(), rng))
        best = matcher.answer(look).candidates[0]
        found = mapped[best.place.row]
        near = positives != 'neighbours' or abs(found.order - asked.order) <= reach
        right = near and found.group == asked.group
        checked = (best.check.lead, best.check.agreement) if verified else ()
        yield best.similarity, best.margin, *checked, right


def fitted(embedder: Embedder, data: Path, sources: Iterable[Source]) -> dict[str, float]:
    """Coefficients from what every set under `data` answers to its own pictures.

    Sets count alike; tours, whose places may show each other, do not. Empty where there is none.
    """
    answers = []
    for folder, positives, _ in _sets(data, sources):
        pictures = _pictures(folder, positives) if positives != 'tour' else []
        frames = [picture.frame for picture in pictures]
        if frames:
            place_map = _map_of(embedder, frames, embedder.local is not None)
            answers.append(ask_itself(place_map, embedder, lambda p, f=frames: f[p.id].read()))
    return coefficients_of(answers, {})


def calibrate(model: Path, data: Path, sources: Iterable[Source]) -> dict[str, float]:
    """Fit the confidence of a model file and write it into its metadata; returns the figures.

    Without a set under `data` that has positives in `sources`, the file stays as it is, and the
    result is empty.
    """
    embedder, sources = Embedder(model, num_threads=1), list(sources)
    coefficients = fitted(embedder, data, sources)
    if not coefficients:
        return {}
    try:
        check_coefficients(coefficients)
    except ValueError as error:
        raise VprError(f'{data}: {error}; give more sets with positives') from error
    kinds = {'calibration error (training)': False}
    if embedder.local:
        kinds['verified'] = True
    measured = {
        name: _error(collect(embedder, data, sources, verified), coefficients)
        for name, verified in kinds.items()
    }
    proto = onnx.load(str(model))
    metadata = {p.key: p.value for p in proto.metadata_props}
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
