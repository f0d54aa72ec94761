# SPDX-License-Identifier: Apache-2.0
"""A large map with and without local features: disk, time to load, memory, and time to read them.

    python -m tools.bench.map_size --places 10000

The map has random numbers of the network's sizes. Each figure is that of a process of its own. To
verify an answer, the local features of 20 candidates are read: at random, the worst case, from the
system's cache, where the load has left them.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder
from tools.process_usage import MIB, resident_mib

_CANDIDATES, _READS, _LOADS = 20, 500, 3


def unit_rows(count: int, size: int) -> np.ndarray:
    """Random float32 (count, size), rows of length 1."""
    rows = np.random.default_rng(0).standard_normal((count, size), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def save_map(folder: Path, count: int, model: Path, with_local: bool) -> None:
    """Write a map of `count` places 1 m apart."""
    places = [Place(i, 0.1 * i, i, Pose(float(i), 0, 0), f'{i:06d}.jpg') for i in range(count)]
    embedder, local = Embedder(model), None
    shape = embedder.local
    if with_local:
        one = np.rint(127 * unit_rows(shape.positions, shape.channels)).astype(np.int8)
        local = np.empty((count, *one.shape), np.int8)
        for i in range(count):
            local[i] = np.roll(one, i, axis=0)
    rows = unit_rows(count, embedder.dimensions)
    PlaceMap.build(rows, places, embedder, local=local).save(folder)


def measure(folder: Path) -> tuple[float, float, float]:
    """MiB that this process has more with the map, seconds of a load, seconds of a read of 20."""
    before, times = resident_mib(os.getpid()), []
    for _ in range(_LOADS):
        started = time.perf_counter()
        place_map = PlaceMap.load(folder)
        times.append(time.perf_counter() - started)
    read_s = 0.0
    if place_map.local is not None:
        ids = np.random.default_rng(1).integers(0, len(place_map.places), (_READS, _CANDIDATES))
        started = time.perf_counter()
        for chosen in ids:
            place_map.local.rows(chosen)
        read_s = (time.perf_counter() - started) / _READS
    return resident_mib(os.getpid()) - before, min(times), read_s


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    text = 'number of places (default: %(default)d)'
    parser.add_argument('--places', type=positive_count, default=10_000, help=text)
    add_model_options(parser)
    args = parser.parse_args(argv)
    embedder = load_embedder(args)
    sizes = f'descriptor {embedder.dimensions}, local {embedder.local or "none"}'
    print(f'{args.places} places, {sizes}')
    with tempfile.TemporaryDirectory() as folder:
        for with_local in (False, True) if embedder.local else (False,):
            name = 'with' if with_local else 'without'
            path = Path(folder, name)
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                pool.apply(save_map, (path, args.places, embedder.path, with_local))
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                memory, load_s, read_s = pool.apply(measure, (path,))
            size = sum(file.stat().st_size for file in path.iterdir())
            text = f'{name:>7} local features: {size / 1e6:6.1f} MB on disk ({size / MIB:.1f} MiB)'
            text += f', load {load_s:.2f} s, +{memory:.1f} MiB resident'
            if read_s:
                text += f', {1000 * read_s:.2f} ms to read {_CANDIDATES} candidates'
            print(text)
    return 0


if __name__ == '__main__':
    run_command(main)
