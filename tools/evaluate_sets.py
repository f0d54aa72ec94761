# SPDX-License-Identifier: Apache-2.0
"""Recall of the shipped student on the validation sets, with raw pixels beside it.

    python -m tools.evaluate_sets ../shared/data/val

Positives as the sets' README says: frames within 2, the same place, or 25 m and 45 degrees.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.commands import run_command
from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import Metrics, Tolerance, evaluate, positives
from ashtkd_ros.place_map import Place
from ashtkd_ros.recogniser import embed_frames
from ashtkd_ros.shipped import shipped_model
from ashtkd_ros.sources import Frame, read_rows, read_source

_TOLERANCE = Tolerance(metres=25.0, degrees=45.0, frames=2)


def raw_pixels(frames: list[Frame]) -> np.ndarray:
    """32 x 32 grey, each picture to mean 0 and length 1: float32 (N, 1024)."""
    small = [
        cv2.resize(
            cv2.cvtColor(f.read(), cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA
        )
        for f in frames
    ]
    flat = np.array(small, np.float32).reshape(len(small), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def evaluate_set(folder: Path, describe: Callable[[list[Frame]], np.ndarray]) -> Metrics:
    """Map = database, queries = query; inner product of the descriptors."""
    mapped, queries = read_source(folder, 'database'), read_source(folder, 'query')
    places = [Place.from_frame(i, f, folder) for i, f in enumerate(mapped)]
    similarity = describe(queries) @ describe(mapped).T
    ranking = np.argsort(-similarity, axis=1, kind='stable')[:, :20]
    return evaluate(ranking, similarity.max(axis=1), positives(queries, places, _TOLERANCE))


def validation_sets(data: Path) -> list[Path]:
    """The sets under `data` that have a map and queries; VprError where there is none."""
    folders = sorted(p.parent for p in data.glob('*/index.csv'))
    roles = {f: {row['role'] for _, row in read_rows(f / 'index.csv', ('role',))} for f in folders}
    sets = [f for f in folders if {'database', 'query'} <= roles[f]]
    if not sets:
        raise VprError(f'{data}: holds no set with the roles database and query in its index.csv')
    return sets


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help='folder of index.csv sets')
    parser.add_argument('--model', type=Path, help='default: the shipped student')
    args = parser.parse_args(argv)
    embedder = Embedder(args.model or shipped_model())
    methods = {embedder.name: lambda frames: embed_frames(embedder, frames, 'embed')}
    methods['raw pixels 32x32'] = raw_pixels
    print(f'{"":>20} {"":>18}  R@1   R@5   R@10  AP')
    for folder in validation_sets(args.data):
        for name, describe in methods.items():
            metrics = evaluate_set(folder, describe)
            recalls = '  '.join(f'{100 * metrics.recall.get(n, 1.0):5.1f}' for n in (1, 5, 10))
            print(f'{folder.name:>20} {name:>18} {recalls}  {metrics.average_precision:.3f}')
    return 0


if __name__ == '__main__':
    run_command(main)
