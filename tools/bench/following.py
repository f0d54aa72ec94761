# SPDX-License-Identifier: Apache-2.0
"""A frame of the sequence filter in maps of growing size, beside exact search in the same map.

    python -m tools.bench.following

The map has random descriptors of 320 numbers and places 2 m apart, on roads of 5,000 places that
lie beside each other, so that each place has others of the same spot. The robot moves a place an
image; three of ten images name it first, the others name places by chance.
"""

from __future__ import annotations

import time

import faiss
import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.places import Place
from ashtkd_ros.recognition.sequence_filter import Evidence, SequenceFilter

_NUMBERS, _ROAD, _CANDIDATES, _FRAMES, _FIRST = 320, 5000, 30, 300, 50
_SHARE_RIGHT = 0.3


def measure(count: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Seconds to prepare the filter; seconds a frame of the filter, and of the search."""
    rng = np.random.default_rng(0)
    places = [
        Place(i, float(i), i, Pose(2.0 * (i % _ROAD), 0.0, 0.0), f'{i}', traverse=i // _ROAD)
        for i in range(count)
    ]
    started = time.perf_counter()
    follower = SequenceFilter(places, length=10)
    prepared = time.perf_counter() - started
    rows = rng.standard_normal((count, _NUMBERS), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(_NUMBERS)
    index.add(rows)
    frames = np.zeros((2, _FRAMES))
    for k in range(_FRAMES):
        query = rng.standard_normal(_NUMBERS).astype(np.float32)
        query /= np.linalg.norm(query)
        ids = rng.permutation(count)[:_CANDIDATES]
        scores = rng.normal(5, 0.3, _CANDIDATES)
        if rng.random() < _SHARE_RIGHT:
            ids[0], scores[0] = _FIRST + k, 7.0
        seen = Evidence(0.5 * k, query, ids, scores, 0.8 if scores[0] == 7.0 else 0.2)
        started = time.perf_counter()
        follower.step(seen)
        middle = time.perf_counter()
        index.search(query[None], _CANDIDATES)
        frames[:, k] = middle - started, time.perf_counter() - middle
    return prepared, *frames


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--places',
        type=positive_count,
        nargs='+',
        default=(1000, 10_000, 100_000),
        help='sizes of the maps (default: 1000 10000 100000)',
    )
    args = parser.parse_args(argv)
    faiss.omp_set_num_threads(1)
    print(f'{"places":>8}  filter p50  filter p95  search p50  filter / search  prepared once')
    for count in args.places:
        prepared, frames, search = measure(count)
        p50, p95 = 1000 * np.percentile(frames, (50, 95))
        exact = 1000 * np.median(search)
        cells = f'{p50:8.2f} ms {p95:8.2f} ms {exact:8.2f} ms {p50 / exact:16.2f}'
        print(f'{count:8d} {cells} {prepared:12.2f} s')
    return 0


if __name__ == '__main__':
    run_command(main)
