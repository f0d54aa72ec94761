# SPDX-License-Identifier: Apache-2.0
"""Time of verification beside the embedding, in turns, and what it gives: one table.

    python -m tools.training.studies.verification_time --data ../shared/data/val

Network and numpy run on one thread, as in the node.

Candidates are pictures of noise, which take as long as any others. Without --data the column of
recall is left out.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.verification import verify
from tools.training.studies.evaluate_sets import validation_sets
from tools.training.studies.student_sets import answer_set

_CANDIDATES = (20, MatcherConfig().verify_top)


def measure(embedder: Embedder, rounds: int) -> dict[str, float]:
    """Median milliseconds of the embedding of 640 x 480 pixels, and of verifying candidates."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(_CANDIDATES), 480, 640, 3), np.uint8)
    local = np.stack([embedder.describe(image).local for image in images])
    work = {'embedding': lambda: embedder.describe(images[0])}
    for count in dict.fromkeys(_CANDIDATES):
        similar = np.zeros(count, np.float32)
        work[f'verification of {count}'] = lambda n=count, s=similar: verify(
            local[0], local[:n], s, embedder.local.grid
        )
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 3):
        for name, step in work.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    return {name: 1000 * float(np.median(values[3:])) for name, values in times.items()}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--data', type=Path, help='folder of validation sets (default: none)')
    parser.add_argument(
        '--rounds',
        type=positive_count,
        default=100,
        help='images (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    embedder = Embedder(shipped_model(), num_threads=1)
    if embedder.local is None:
        raise VprError(f'{embedder.path}: has no local features, so there is nothing to time')
    times = measure(embedder, args.rounds)
    for name, ms in times.items():
        print(f'{name:>22}  {ms:6.2f} ms  {ms / times["embedding"]:5.2f} of the embedding')
    rows = {'descriptor': times['embedding']}
    rows['verified'] = times['embedding'] + times[f'verification of {_CANDIDATES[-1]}']
    recall = {}
    if args.data:
        found = [answer_set(folder, embedder) for folder in validation_sets(args.data)]
        for method in rows:
            recalls = [answers[method].metrics().recall[1] for answers in found]
            recall[method] = f', mean R@1 {100 * float(np.mean(recalls)):.1f} %'
    print(' | '.join(f'{name} {ms:.2f} ms{recall.get(name, "")}' for name, ms in rows.items()))
    return 0


if __name__ == '__main__':
    run_command(main)
