# SPDX-License-Identifier: Apache-2.0
"""build_map of a long bag: its memory against a short bag's, its speed against embedding alone.

    python -m tools.bench.map_building --frames 20000

The bag is made of the shipped rendered walk, over and over, each image far enough from the last to
become a place. Embedding alone: pictures decoded before, in batches by one network on all cores,
and one at a time on each core; the faster of the two is the reference.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.bag_writer import STORAGES, BagOptions, make_bag
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import file_frame, read_source
from tools.town import DAY

_BATCH = 16


def long_walk(count: int) -> list[Frame]:
    """The shipped walk's pictures again and again along a straight line, 1.5 m apart, at 10 Hz."""
    frames = read_source(DAY)
    return [
        file_frame(frames[i % len(frames)].file, 1000.0 + 0.1 * i, i, Pose(1.5 * i, 0.0, 0.0))
        for i in range(count)
    ]


def build(bags: Sequence[Path], out: Path, *options: str) -> tuple[float, float]:
    """Seconds and peak MiB of a build_map of its own."""
    command = [sys.executable, '-m', 'ashtkd_ros.commands.build_map', *map(str, bags)]
    command += ['-o', str(out), *options]
    started = time.perf_counter()
    with child_process('build_map', command) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise child.failure()
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def embedding_alone(images: int) -> dict[str, float]:
    """Images per second, each way."""
    pictures = [frame.read() for frame in read_source(DAY)]
    chosen = [pictures[i % len(pictures)] for i in range(images)]
    shared, single = Embedder(shipped_model()), Embedder(shipped_model(), num_threads=1)

    def batches() -> None:
        for start in range(0, images, _BATCH):
            shared.embed_batch(chosen[start : start + _BATCH])

    def one_by_one() -> None:
        for _ in in_parallel(single.embed, ((None, (image,)) for image in chosen)):
            pass

    return {
        f'batches of {_BATCH}, all cores': images / _seconds(batches),
        'one image on each core': images / _seconds(one_by_one),
    }


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--frames',
        type=positive_count,
        default=2000,
        help='images of the long bag (default: %(default)d)',
    )
    add(
        '--storage',
        choices=STORAGES,
        default=STORAGES[0],
        help='storage of the bags (default: %(default)s)',
    )
    add('--raw', action='store_true', help='store raw images, not JPEG')
    args = parser.parse_args(argv)
    short, long = max(args.frames // 10, 1), args.frames
    options = BagOptions(storage=args.storage, jpeg=not args.raw)
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for count in (short, long):
            bag = Path(folder, str(count))
            make_bag(long_walk(count), bag, options)
            seconds, peaks[count] = build([bag], Path(folder, f'map{count}'))
            print(
                f'{count:6} frames: {seconds:6.1f} s, {count / seconds:5.1f} frames/s, '
                f'peak {peaks[count]:.0f} MiB'
            )
    # Afterwards: a child's peak counts from the memory of the process that started it.
    alone = embedding_alone(min(long, 2000))
    for way, rate in alone.items():
        print(f'embedding alone, {way}: {rate:.1f} images/s')
    print(f'build_map runs at {long / seconds / max(alone.values()):.2f} of embedding alone')
    print(f'{long} frames need {peaks[long] - peaks[short]:+.0f} MiB more than {short}')
    return 0


if __name__ == '__main__':
    run_command(main)
