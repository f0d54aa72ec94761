# SPDX-License-Identifier: Apache-2.0
"""Verification by a large map whose local features the system's cache has lost, and a small one's.

    python -m tools.bench.cold_verification

Both files hold noise, which takes as long as anything else; the large one is written first, 12.5
GB for a million places, and removed at the end. The candidates of an image lie anywhere in the
map. Before a cold image the system's cache loses the large file, the disk's own may still have it;
before a warm one its candidates are read once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.npy import HEADER_BYTES
from ashtkd_ros.maps.local_file import LocalFile, local_header
from ashtkd_ros.network.local_features import LocalShape
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.verification import AT_ONCE, verify

_SMALL, _BLOCK = 1000, 1000  # places


def write_noise(path: Path, count: int, shape: LocalShape, looks: np.ndarray) -> LocalFile:
    """A file of `count` places, each with the features of one of `looks` in turn."""
    with path.open('wb') as file:
        file.write(local_header(count, shape))
        block = np.resize(looks, (_BLOCK, *looks.shape[1:])).tobytes()
        for first in range(0, count, _BLOCK):
            file.write(block[: min(_BLOCK, count - first) * shape.size])
        file.flush()
        os.fsync(file.fileno())
    local = LocalFile(path, os.open(path, os.O_RDONLY), count, shape, HEADER_BYTES)
    local.file.expect_random()
    return local


def measure(files: dict[str, LocalFile], query: np.ndarray, rounds: int) -> dict[str, float]:
    """Name → median milliseconds to read and verify the candidates of an image, in turns."""
    top, rng = MatcherConfig().verify_top, np.random.default_rng(0)
    similar, grid = np.zeros(top, np.float32), next(iter(files.values())).grid
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(rounds + 3):
        for name, local in files.items():
            ids = np.sort(rng.choice(len(local), top, replace=False))
            if name.endswith('cold'):
                os.posix_fadvise(local.file.handle, 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                local.rows(ids)
            started = time.perf_counter()
            verify(query, local.parts(ids, AT_ONCE), similar, grid)
            times[name].append(time.perf_counter() - started)
    return {name: 1000 * float(np.median(taken[3:])) for name, taken in times.items()}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    text = 'places of the large map (default: %(default)d)'
    add('--places', type=positive_count, default=1_000_000, help=text)
    add('--rounds', type=positive_count, default=100, help='images (default: %(default)d)')
    add('--folder', type=Path, help='disk to measure, a folder (default: that of temporary files)')
    add_model_options(parser)
    args = parser.parse_args(argv)
    embedder = load_embedder(args)
    images = np.random.default_rng(0).integers(0, 256, (20, 480, 640, 3), np.uint8)
    looks = np.stack([embedder.describe(image).local for image in images])
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder, shape = Path(name), embedder.local
        if shutil.disk_usage(folder).free < 1.1 * args.places * shape.size:
            raise VprError(f'{folder}: has no room for {args.places} places; give fewer')
        small = write_noise(folder / 'small', _SMALL, shape, looks)
        large = write_noise(folder / 'large', args.places, shape, looks)
        names = f'{_SMALL} places', f'{args.places} places, warm', f'{args.places} places, cold'
        took = measure(dict(zip(names, (small, large, large), strict=True)), looks[0], args.rounds)
    for name, ms in took.items():
        print(f'{name:24s} {ms:6.2f} ms, {ms - took[names[0]]:+.2f} ms to the small map')
    return 0


if __name__ == '__main__':
    run_command(main)
