# SPDX-License-Identifier: Apache-2.0
"""An answer with a prior beside one without, in maps of growing size.

    python -m tools.bench.prior

The map has random descriptors of the network's size and places 1 m apart, on roads of 1,000 places
that lie 10 m beside each other; answers are not verified. A prior does not make a search of the
map faster: rivals are searched in the whole map, so that a prior that is wrong makes nothing sure.
"""

from __future__ import annotations

import time

import faiss
import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places, Texts
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.recognition.place_grid import PlaceGrid
from ashtkd_ros.recognition.prior import Prior
from tools.bench.map_size import unit_rows

_ROAD, _APART_M, _QUERIES = 1000, 10.0, 20


def road_map(count: int, embedder: Embedder) -> PlaceMap:
    """Random descriptors of `count` places on roads."""
    rows, poses = np.arange(count), np.zeros((count, 7))
    poses[:, 0], poses[:, 1], poses[:, 6] = rows % _ROAD, _APART_M * (rows // _ROAD), 1.0
    columns = {'ids': rows, 'orders': rows, 'traverses': rows // _ROAD}
    columns |= {'stamps': rows.astype(float), 'poses': poses, 'geo': np.full((count, 2), np.nan)}
    columns |= {'pictures': np.zeros((count, 32), np.uint8)}
    texts = Texts(np.zeros(0, np.uint8), np.zeros(count, np.int64))
    places = Places(**columns, sources=texts, labels=texts)
    return PlaceMap.build(unit_rows(count, embedder.dimensions), places, embedder)


def measure(count: int, radius_m: float, embedder: Embedder) -> tuple[int, np.ndarray]:
    """Pictures within the last prior; seconds of the grid, its making, a look-up, an answer
    without and one with a prior, the last three as medians."""
    place_map, rng = road_map(count, embedder), np.random.default_rng(1)
    matcher, looks = Matcher(place_map), unit_rows(_QUERIES, embedder.dimensions)
    started = time.perf_counter()
    grid = PlaceGrid(place_map.places)
    made = time.perf_counter() - started
    matcher.answer(Look(looks[0], None), prior=Prior(0.0, 0.0, radius_m))
    times = np.zeros((3, _QUERIES))
    for k, descriptor in enumerate(looks):
        at = place_map.places.positions[rng.integers(count), :2]
        prior, look = Prior(*at.tolist(), radius_m), Look(descriptor, None)
        for step, call in enumerate(
            (
                lambda p=prior: grid.within(p.x, p.y, p.radius_m),
                lambda q=look: matcher.answer(q),
                lambda q=look, p=prior: matcher.answer(q, prior=p),
            )
        ):
            started = time.perf_counter()
            found = call()
            times[step, k] = time.perf_counter() - started
    return len(found.prior.rows), np.array([made, *np.median(times, axis=1)])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--places',
        type=positive_count,
        nargs='+',
        default=(100_000, 1_000_000),
        help='sizes of the maps (default: 100000 1000000)',
    )
    parser.add_argument(
        '--radius',
        type=positive_count,
        default=50,
        metavar='M',
        help='radius of the prior in metres (default: %(default)d)',
    )
    add_model_options(parser)
    args = parser.parse_args(argv)
    faiss.omp_set_num_threads(1)
    embedder = load_embedder(args)
    print('  places  within  grid made  look-up   without      with  with / without')
    for count in args.places:
        within, (made, look_up, without, with_it) = measure(count, args.radius, embedder)
        print(
            f'{count:8d} {within:7d} {1000 * made:7.0f} ms {1000 * look_up:5.2f} ms '
            f'{1000 * without:6.1f} ms {1000 * with_it:6.1f} ms {with_it / without:15.2f}'
        )
    return 0


if __name__ == '__main__':
    run_command(main)
