# SPDX-License-Identifier: Apache-2.0
"""build_map of several bags by one worker of Ray and by several: the same bytes, how much sooner?

    python -m tools.bench.ray_build --bags 4 --frames 2000

A worker decodes and embeds on one core. The time to start Ray and the workers is that of bags of
one image; --threads 1 is build_map without workers, which decodes beside its one thread that
embeds. Whatever else the machine does disturbs the times.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from tools.bench.map_building import build, long_walk
from tools.bench.map_kills import bytes_of


def measure(folder: Path, bags: int, frames: int, workers: int) -> dict[str, float]:
    """Seconds of each way to build one map; VprError where the maps differ."""
    sources = []
    for count in (1, frames):
        sources.append([folder / f'{count}_{i}' for i in range(bags)])
        for bag in sources[-1]:
            make_bag(long_walk(count), bag, BagOptions(jpeg=True))
    made, seconds = sources[1], {}
    ways = {
        'start alone': (sources[0], ['--workers', str(workers)]),
        'without workers, --threads 1': (made, ['--threads', '1']),
        '1 worker': (made, ['--workers', '1', '--threads', '1']),
        f'{workers} workers': (made, ['--workers', str(workers), '--threads', '1']),
    }
    maps = []
    for way, (of, options) in ways.items():
        out = folder / 'maps' / str(len(seconds))
        seconds[way], _ = build(of, out, *options)
        print(f'{way}: {seconds[way]:.1f} s', flush=True)
        maps.append(bytes_of(out))
    if not maps[1] == maps[2] == maps[3]:
        raise VprError('the maps are not the same')
    return seconds


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    text = 'number of bags (default: %(default)d)'
    add('--bags', type=positive_count, default=4, help=text)
    text = 'images of each bag (default: %(default)d)'
    add('--frames', type=positive_count, default=2000, help=text)
    text = 'number of workers to compare with one (default: %(default)d)'
    add('--workers', type=positive_count, default=2, help=text)
    args = parser.parse_args(argv)
    if importlib.util.find_spec('ray') is None:
        print('Ray is not installed (pip install ray): nothing to measure')
        return 0
    with tempfile.TemporaryDirectory() as folder:
        start, without, one, several = measure(
            Path(folder), args.bags, args.frames, args.workers
        ).values()
    print(f'{args.bags} bags of {args.frames} images: the same map each time')
    print(f'{args.workers} workers are {one / several:.2f} times as fast as 1')
    if several > start:
        print(f'without the start: {(one - start) / (several - start):.2f} times')
    print(f'and {without / several:.2f} times as fast as build_map without workers')
    return 0


if __name__ == '__main__':
    run_command(main)
