# SPDX-License-Identifier: Apache-2.0
"""Recall on rendered walks: another light, and a camera that stands or looks elsewhere.

The map is a walk by day, a place each 1.75 m. The queries have other parked cars and clouds:
`again` on the same line, then in another light, 1 to 3 m to the left (to the right stand parked
cars), turned to the left by 10 to 30 degrees, and 2 and 4 m further forward. It needs
tools/requirements/render.txt. Rendering takes about five minutes of CPU time, and is done once.

    python -m tools.training.studies.evaluate_walks

What is right: a place within 2 m along the road of where the query was taken; the step to the
left comes on top (within 3.6 m for 3 m to the left). The loop is driven one way only, so no
heading is asked. For the last two walks, and `forward0` beside them, the map has a place each
10.5 m, one of them 0, 2 or 4 m behind the query; right is within 5.25 m. R@1: share of the
queries whose first place is right; 2x: the same within twice that distance; m: median distance
from the query to the first place in metres, steps included.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ashtkd_ros.cli.arguments import count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.evaluation.ground_truth import Tolerance, hits_of, positives
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.files.writing import check_output, write_errors, write_text
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.render.conditions import CONDITIONS
from tools.render.walk import Drive
from tools.render.walks import DAY, EVALUATION_TOWNS, query_walks, render_towns, town_folder

NEAR_M, THINNED = 2.0, 6
_DEPTH = 20
_DESCRIPTOR = 'descriptor'
MAP_WALK = 'day'
_METHODS = {
    _DESCRIPTOR: MatcherConfig(top_k=_DEPTH, verify_top=0),
    'verified': MatcherConfig(top_k=_DEPTH),
}


@dataclass(frozen=True)
class WalkTest:
    """A row of the table: a query walk in the map of DAY, of which every `every`th place is kept.

    `folder`: name of the walk.
    """

    folder: str
    drive: Drive
    every: int = 1

    @property
    def metres(self) -> float:
        """How far a right place may be from the query."""
        if self.every > 1:
            return self.every * DAY.spacing / 2
        return math.hypot(self.drive.lateral, NEAR_M)

    def first_places(self, queries: int) -> np.ndarray:
        """int (queries,): the first place that is kept, so that the one at the step is, too."""
        at = np.arange(queries) * (self.drive.spacing / DAY.spacing)
        return np.round(at).astype(int) % self.every


def walk_tests() -> dict[str, WalkTest]:
    """Name → test, in the order of the table."""
    walks = query_walks()
    dense = {name: WalkTest(name, walk) for name, walk in walks.items() if not walk.phase}
    thin = {name: WalkTest(name, walk, THINNED) for name, walk in walks.items() if walk.phase}
    return dense | {'forward0': WalkTest('again', walks['again'], THINNED)} | thin


@dataclass(frozen=True)
class Described:
    """Frames of a walk, and what the network makes of each."""

    frames: Sequence[Frame]
    looks: Sequence[Look]

    @classmethod
    def of(cls, folder: Path, embedder: Embedder) -> Described:
        """The walk in a folder."""
        name = f'{folder.parent.name} {folder.name}'
        return cls.of_frames(read_source(folder), name, embedder)

    @classmethod
    def of_frames(cls, frames: Sequence[Frame], name: str, embedder: Embedder) -> Described:
        """Any frames; `name` stands at the progress bar."""
        jobs = ((None, frame.pixels()) for frame in frames)
        looks = in_parallel(embedder.describe, jobs)
        bar = tqdm(looks, name, len(frames), unit='frame', delay=2, disable=None)
        return cls(frames, [look for _, look in bar])

    @property
    def places(self) -> list[Place]:
        """The frames as places of a map."""
        return [
            Place(i, f.stamp, f.order, f.pose, f.name, f.label) for i, f in enumerate(self.frames)
        ]

    def every(self, first: int, step: int) -> Described:
        """Every `step`th frame from the `first` on."""
        return Described(self.frames[first::step], self.looks[first::step])

    def place_map(self, embedder: Embedder) -> PlaceMap:
        """A map of these frames, in memory."""
        local = [look.local for look in self.looks if look.local is not None]
        descriptors = np.stack([look.descriptor for look in self.looks])
        local = np.stack(local) if local else None
        return PlaceMap.build(descriptors, self.places, embedder, local=local)


def rank(
    mapped: Described, queries: Described, test: WalkTest, embedder: Embedder
) -> dict[str, np.ndarray]:
    """Method → rows of `mapped`, int (Q, 20), the best first; -1 where the map has no more. A
    model without local features is judged by its descriptor alone."""
    first = test.first_places(len(queries.frames))
    configs = _METHODS if embedder.local else {_DESCRIPTOR: _METHODS[_DESCRIPTOR]}
    found = {name: np.full((len(first), _DEPTH), -1) for name in configs}
    for start in np.unique(first).tolist():
        place_map = mapped.every(start, test.every).place_map(embedder)
        for name, config in configs.items():
            matcher = Matcher(place_map, config)
            for q in np.flatnonzero(first == start):
                rows = [c.place.row for c in matcher.answer(queries.looks[q]).candidates]
                found[name][q, : len(rows)] = start + test.every * np.array(rows)
    return found


@dataclass(frozen=True)
class Judged:
    """The answers for the Q queries of one walk by one method.

    `ranking`: rows of the map, int (Q, K), the best first; `right` and `nearly`: whether the first
    is within the distance, and within twice of it, bool (Q,); `metres`: how far it is, float (Q,).
    """

    ranking: np.ndarray
    right: np.ndarray
    nearly: np.ndarray
    metres: np.ndarray

    @classmethod
    def of(
        cls, ranking: np.ndarray, mapped: Described, queries: Described, test: WalkTest
    ) -> Judged:
        """Judge a ranking of `mapped` by the poses."""
        hits = [
            hits_of(ranking[:, :1], positives(queries.frames, mapped.places, tolerance))[:, 0]
            for tolerance in (Tolerance(n * test.metres, 180.0) for n in (1, 2))
        ]
        pairs = zip(queries.frames, ranking[:, 0], strict=True)
        poses = [(query.pose, mapped.frames[row].pose) for query, row in pairs]
        metres = np.array([math.hypot(a.x - b.x, a.y - b.y) for a, b in poses])
        return cls(ranking, *hits, metres)


# Walk → method → figures.
Figures = dict[str, dict[str, Judged]]


def evaluate_town(folder: Path, embedder: Embedder) -> Figures:
    """The walks of one town in its map."""
    mapped = Described.of(folder / MAP_WALK, embedder)
    walks = {name: Described.of(folder / name, embedder) for name in query_walks()}
    judged = {}
    for name, test in walk_tests().items():
        queries = walks[test.folder]
        ranked = rank(mapped, queries, test, embedder)
        judged[name] = {m: Judged.of(r, mapped, queries, test) for m, r in ranked.items()}
    return judged


def table(towns: dict[str, Figures]) -> str:
    """A row for each walk, and two for the means of those in another light and of the others."""
    columns = ' '.join(f'{name:>7}' for name in (*towns, '2x', 'm'))
    methods = list(next(iter(next(iter(towns.values())).values())))
    rows = {}
    for walk in walk_tests():
        seen = [[figures[walk][method] for figures in towns.values()] for method in methods]
        rows[walk] = np.array([_numbers(judged) for judged in seen])
    lights = [walk for walk in rows if walk in CONDITIONS]
    moved = [walk for walk in rows if walk not in (*CONDITIONS, 'again', 'forward0')]
    for name, walks in (('lights', lights), ('moved', moved)):
        rows[name] = np.mean([rows[walk] for walk in walks], axis=0)
    lines = [' ' * 10 + ''.join(f'   {method:^{len(columns)}}' for method in methods)]
    lines.append(f'{"R@1 in %":>10}' + f'   {columns}' * len(methods))
    for name, row in rows.items():
        cells = (' '.join(f'{number:7.1f}' for number in numbers) for numbers in row)
        lines.append(f'{name:>10}   ' + '   '.join(cells))
    return '\n'.join(line.rstrip() for line in lines)


def _numbers(towns: list[Judged]) -> list[float]:
    """Recall@1 of each town, within twice the distance in all, in %; the median of the metres."""
    nearly = np.concatenate([judged.nearly for judged in towns])
    metres = np.concatenate([judged.metres for judged in towns])
    recalls = [100 * judged.right.mean() for judged in towns]
    return [*recalls, 100 * nearly.mean(), np.median(metres)]


def as_json(towns: dict[str, Figures]) -> str:
    """{"townT/WALK": {METHOD: rows of the map, the best first, for each query}}."""
    ranked = {
        f'{town}/{walk}': {name: judged.ranking.tolist() for name, judged in methods.items()}
        for town, figures in towns.items()
        for walk, methods in figures.items()
    }
    return json.dumps(ranked)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--walks',
        type=Path,
        default=Path('runs/walks'),
        help='folder to render the walks to, and to find them in (default: %(default)s)',
    )
    parser.add_argument(
        '--towns',
        type=count,
        nargs='+',
        default=EVALUATION_TOWNS,
        help=f'seeds of the towns (default: {" ".join(map(str, EVALUATION_TOWNS))})',
    )
    parser.add_argument(
        '--model', type=Path, help='exported student (.onnx; default: the one that is shipped)'
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write {"townT/WALK": {METHOD: rows of poses.csv of day, the best 20 for each query, '
        '-1 for none}} (default: not written)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    if args.json:
        check_output(args.json, _is_own)
    embedder = Embedder(args.model or shipped_model(), num_threads=1)
    towns = list(dict.fromkeys(args.towns))
    render_towns(towns, args.walks)
    folders = [town_folder(args.walks, town) for town in towns]
    judged = {folder.name: evaluate_town(folder, embedder) for folder in folders}
    print(table(judged))
    if args.json:
        with write_errors(args.json):
            write_text(args.json, as_json(judged))
    return 0


def _is_own(data: bytes) -> bool:
    """Whether bytes are what an earlier run wrote with --json."""
    names = json_keys(data)
    return bool(names) and all(name.startswith('town') for name in names)


if __name__ == '__main__':
    run_command(main)
