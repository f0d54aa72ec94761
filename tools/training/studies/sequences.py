# SPDX-License-Identifier: Apache-2.0
"""Single images, a fixed window and the sequence filter, on traverses in a row.

    python -m tools.training.studies.sequences ../shared/data/val

Traverses are the validation sets `corridor` and `robot_loop` (right: within two frames) and the
rendered walks of `evaluate_walks` whose map has all its places, another light or a camera that
stands or looks elsewhere (right: as there). Each map fits its confidence to itself, as in
`build_map`. "Part missing" asks at dusk about a route of which the map lacks the second third; the
last rows ask maps about a walk through another town, where all that is accepted is wrong. The mean
is that of the other rows. R@1: the first place is right; at 100 %: recall at 100 % precision;
error: calibration error; taken: share of the answers that reach the map's confidence for 99 %
precision; right: share of these that is right.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.evaluation.fixed_window import FixedWindow
from ashtkd_ros.evaluation.ground_truth import Tolerance, positives
from ashtkd_ros.evaluation.metrics import calibration, retrieval_metrics
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.following import EVIDENCE, Follower, evidence_of
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.recognition.recogniser import BY_THE_MAP, TARGET_PRECISION, least_confidence
from ashtkd_ros.traverses.image_folder import read_source
from tools.render.walks import EVALUATION_TOWNS, render_towns, town_folder
from tools.training.studies.evaluate_walks import MAP_WALK, Described, walk_tests
from tools.training.studies.student_sets import TOLERANCE, self_calibrated

SINGLE, WINDOW, FILTER = 'single', 'window', 'filter'
_SETS = ('corridor', 'robot_loop')
_DUSK, _MISSING, _ELSEWHERE = 'dusk', 'part missing', 'elsewhere'


@dataclass(frozen=True)
class Row:
    """Answers to the Q images of a traverse by each method.

    `first`: int (Q,), row of the best place; `confidence`: float (Q,). `right`: bool (Q, N);
    `least`: the map's confidence for 99 %.
    """

    first: dict[str, np.ndarray]
    confidence: dict[str, np.ndarray]
    right: np.ndarray
    least: float

    def figures(self) -> list[float]:
        """The numbers of the table, in %, errors as they are."""
        by = {
            m: retrieval_metrics(self.first[m][:, None], self.confidence[m], self.right)
            for m in (SINGLE, WINDOW, FILTER)
        }
        recalls = [100 * m.recall[1] for m in by.values()]
        perfect = [100 * m.recall_at_full_precision for m in by.values()]
        hits = {m: self.right[np.arange(len(f)), f] for m, f in self.first.items()}
        errors = [calibration(self.confidence[m], hits[m]).error for m in (SINGLE, FILTER)]
        taken = [self.confidence[m] >= self.least for m in (SINGLE, FILTER)]
        right = [
            100 * hits[m][t].mean() if t.any() else math.nan
            for m, t in zip((SINGLE, FILTER), taken, strict=True)
        ]
        return [*recalls, *perfect, *errors, *(100 * t.mean() for t in taken), *right]


def follow(
    place_map: PlaceMap, queries: Described, right: np.ndarray, length: int, least: float
) -> Row:
    """Ask about a traverse, image by image."""
    matcher = Matcher(place_map)
    follower = Follower(matcher, length)
    window = FixedWindow(follower.filter.graph, length)
    first = {m: [] for m in (SINGLE, WINDOW, FILTER)}
    confidence = {m: [] for m in first}
    for frame, look in zip(queries.frames, queries.looks, strict=True):
        answer = matcher.answer(look, EVIDENCE)
        followed = follower.follow(answer, look.descriptor, frame.stamp, 1).candidates[0]
        rows, share = window.step(evidence_of(answer, look.descriptor, frame.stamp), 1)
        best = answer.candidates[0]
        found = ((best.place.row, best.confidence), (rows[0], share))
        found += ((followed.place.row, followed.confidence),)
        for method, (place, trust) in zip(first, found, strict=True):
            first[method].append(place)
            confidence[method].append(trust)
    arrays = ({m: np.array(v) for m, v in of.items()} for of in (first, confidence))
    return Row(*arrays, right, least)


def rows(data: Path, walks: Path, embedder: Embedder, length: int) -> Iterator[tuple[str, Row]]:
    """Name and row of each traverse."""
    for name in _SETS:
        mapped, queries = (
            Described.of_frames(read_source(data / name, role), name, embedder)
            for role in ('database', 'query')
        )
        yield name, _asked(mapped, queries, TOLERANCE, embedder, length)
    render_towns(EVALUATION_TOWNS, walks)
    folders = [town_folder(walks, town) for town in EVALUATION_TOWNS]
    maps = [Described.of(folder / MAP_WALK, embedder) for folder in folders]
    for folder, mapped in zip(folders, maps, strict=True):
        for walk, test in walk_tests().items():
            if test.every == 1:
                queries = Described.of(folder / test.folder, embedder)
                tolerance = Tolerance(test.metres, 180.0)
                row = _asked(mapped, queries, tolerance, embedder, length)
                yield f'{folder.name} {walk}', row
        dusk = Described.of(folder / _DUSK, embedder)
        tolerance = Tolerance(walk_tests()[_DUSK].metres, 180.0)
        part = _without_the_middle(mapped)
        yield f'{folder.name} {_MISSING}', _asked(part, dusk, tolerance, embedder, length)
    for mapped, other, folder in zip(maps, maps[::-1], folders, strict=True):
        row = _asked(mapped, other, None, embedder, length)
        yield f'{_ELSEWHERE}, {folder.name}', row


def _without_the_middle(mapped: Described) -> Described:
    """The map without the places of the second third of its route."""
    third = len(mapped.frames) // 3
    kept = [*range(third), *range(2 * third, len(mapped.frames))]
    return Described([mapped.frames[k] for k in kept], [mapped.looks[k] for k in kept])


def _asked(
    mapped: Described,
    queries: Described,
    tolerance: Tolerance | None,
    embedder: Embedder,
    length: int,
) -> Row:
    """`tolerance`: of what is right, None: nothing is."""
    place_map = self_calibrated(mapped.place_map(embedder), embedder, mapped.frames)
    least = least_confidence(place_map.info, BY_THE_MAP, TARGET_PRECISION)
    right = np.zeros((len(queries.frames), len(mapped.frames)), bool)
    if tolerance is not None:
        right = positives(queries.frames, mapped.places, tolerance)
    return follow(place_map, queries, right, length, least)


def table(found: dict[str, Row]) -> str:
    """A line for each traverse, and their mean, those that are elsewhere apart."""
    three, two = f'{SINGLE:>7}{WINDOW:>7}{FILTER:>7}', f'{SINGLE:>7}{FILTER:>7}'
    heads = ((f'{"R@1":^21}', three), (f'{"at 100 %":^21}', three))
    heads += tuple((f'{name:^14}', two) for name in ('error', 'taken', 'right'))
    lines = [' ' * 20 + '   '.join(head for head, _ in heads)]
    lines.append(' ' * 20 + '   '.join(names for _, names in heads))
    figures = {name: row.figures() for name, row in found.items()}
    there = [
        row for name, row in figures.items() if _ELSEWHERE not in name and _MISSING not in name
    ]
    figures['mean'] = np.nanmean(there, axis=0).tolist()
    for name, n in figures.items():
        cells = [*map(_percent, n[:6]), *(f'{x:7.3f}' for x in n[6:8]), *map(_percent, n[8:])]
        parts = (cells[0:3], cells[3:6], cells[6:8], cells[8:10], cells[10:12])
        lines.append(f'{name:>20}' + '   '.join(''.join(part) for part in parts))
    return '\n'.join(line.rstrip() for line in lines)


def _percent(value: float) -> str:
    return f'{"-":>7}' if math.isnan(value) else f'{value:7.1f}'


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    _add_options(parser.add_argument)
    args = parser.parse_args(argv)
    embedder = Embedder(args.model or shipped_model(), num_threads=1)
    print(table(dict(rows(args.data, args.walks, embedder, args.length))))
    return 0


def _add_options(add: Callable[..., argparse.Action]) -> None:
    add('data', type=Path, help='folder of the validation sets')
    add(
        '--walks',
        type=Path,
        default=Path('runs/walks'),
        help='folder to render the walks to, and to find them in (default: %(default)s)',
    )
    add(
        '--length',
        type=positive_count,
        default=10,
        help='images that filter and window remember (default: %(default)s)',
    )
    add('--model', type=Path, help='exported student (.onnx; default: the one that is shipped)')


if __name__ == '__main__':
    run_command(main)
