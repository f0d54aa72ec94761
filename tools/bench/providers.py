# SPDX-License-Identifier: Apache-2.0
"""Time of one image on each provider that is installed, and whether it answers as the CPU does.

    python -m tools.bench.providers --threads 1

The providers take turns in every round. The least time is printed beside the median: other
programs change it least. With OpenVINO, after `make openvino`:

    PYTHONPATH=.venv-openvino:$PYTHONPATH python -m tools.bench.providers --threads 1
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_notes
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.providers import AUTO, CPU, candidates
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.opening import open_traverse
from tools.town import DAY


def measure(
    networks: dict[str, Embedder], blobs: np.ndarray, rounds: int
) -> dict[str, tuple[float, float]]:
    """Median and least milliseconds of one of the images, float32 (N, 3, h, w), by provider."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for i in range(rounds):
        blob = blobs[i % len(blobs)][None]
        for name, network in networks.items():
            started = time.perf_counter()
            network.run(blob)
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: (float(np.median(ms)), min(ms)) for name, ms in times.items()}


def compare(path: Path, providers: list[str], threads: int, rounds: int) -> list[str]:
    """A line for each provider that works."""
    networks = {name: Embedder(path, (name,), threads) for name in providers}
    for network in networks.values():
        print_notes(*network.warnings)
    networks = {name: network for name, network in networks.items() if network.provider == name}
    cpu = networks[CPU]
    frames = itertools.islice(open_traverse(DAY).frames(), 24)
    blobs = np.stack([cpu.preprocess(*frame.pixels()) for _, frame in frames])
    wanted, lines = cpu.run(blobs), []
    reference = measure(networks, blobs, rounds)
    for name, (median, least) in reference.items():
        cosine = float((networks[name].run(blobs) * wanted).sum(axis=1).min())
        lines.append(
            f'{path.stem:>24} {name:>26}  {median:5.2f} ms, least {least:5.2f}, '
            f'{least / reference[CPU][1]:4.2f} of the CPU; least cosine {cosine:.6f}'
        )
    return lines


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    text = 'threads of each provider (default: %(default)d)'
    parser.add_argument('--threads', type=positive_count, default=1, help=text)
    text = 'images for each provider (default: %(default)d)'
    parser.add_argument('--rounds', type=positive_count, default=200, help=text)
    args = parser.parse_args(argv)
    found, _ = candidates([AUTO])
    for path in sorted(shipped_model().parent.glob('*.onnx')):
        print(*compare(path, found, args.threads, args.rounds), sep='\n')
    return 0


if __name__ == '__main__':
    run_command(main)
