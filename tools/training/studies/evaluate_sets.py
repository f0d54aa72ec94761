# SPDX-License-Identifier: Apache-2.0
"""Recall of the shipped student on the validation sets, with HOG and raw pixels beside it.

The student is measured as the node uses it, by its descriptor alone and verified by local
features. Its average precision is that of answers trusted by their confidence; of the others it is
by similarity. Of frozen networks and HOG the mean descriptor of the database is subtracted first:
descriptors that are never negative would look alike without it.

    python -m tools.training.studies.evaluate_sets ../shared/data/val --teachers ../shared/teachers

What is right is stated in the README of the sets: the same place, or at most 2 frames or 25 m and
45 degrees away.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.baselines import BASELINES
from ashtkd_ros.evaluation.ground_truth import positives
from ashtkd_ros.evaluation.metrics import Metrics, retrieval_metrics
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.network.embedder import Embedder, resize
from ashtkd_ros.network.parallel_embedding import embed_frames
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.recogniser import TARGET_PRECISION
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.bench.embedding import TIMED_SIZE, open_session
from tools.training.studies.student_sets import (
    TOLERANCE,
    answer_set,
    check_rankings,
    confidence_figures,
    places_of,
    recall_table,
    write_rankings,
)

# Frames → descriptors (N, D), rows of length 1.
Describe = Callable[[list[Frame]], np.ndarray]
_AS_THEY_ARE = ('raw pixels', 'first')  # of mean 0 already, or as the node uses them
_CUTS = (256, 128)


def student_descriptors(embedder: Embedder) -> Describe:
    """The descriptors of an exported student, computed once for each list of frames."""
    known: dict[tuple[Path, ...], np.ndarray] = {}

    def describe(frames: list[Frame]) -> np.ndarray:
        paths = tuple(frame.file for frame in frames)
        if paths not in known:
            known[paths] = embed_frames(embedder, frames, embedder.name)
        return known[paths]

    return describe


def image_descriptors(describe: Callable[[np.ndarray], np.ndarray]) -> Describe:
    """The descriptors of many frames by a function that describes one image."""
    return lambda frames: np.stack([describe(frame.read()) for frame in frames])


def frozen_descriptors(path: Path) -> Describe:
    """The descriptor of a frozen ONNX network: input RGB in [0, 1], 224 x 224."""
    session = open_session(path, 0)

    def describe(frames: list[Frame]) -> np.ndarray:
        rows = []
        for frame in frames:
            image = resize(frame.read(), TIMED_SIZE)
            image = image.transpose(2, 0, 1)[None].astype(np.float32) / 255
            rows.append(session.run(['descriptor'], {'image': image})[0][0])
        return np.stack(rows)

    return describe


def centred(database: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the database's mean, rows brought to length 1 again."""
    moved = (rows - database.mean(axis=0) for rows in (database, queries))
    return tuple(m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-6) for m in moved)


def evaluate_set(folder: Path, describe: Describe, centre: bool = False) -> Metrics:
    """Map = database, queries = query; inner product of the descriptors, centred or not."""
    mapped, queries = read_source(folder, 'database'), read_source(folder, 'query')
    d, q = describe(mapped), describe(queries)
    if centre:
        d, q = centred(d, q)
    similarity = q @ d.T
    ranking = np.argsort(-similarity, axis=1, kind='stable')[:, :20]
    return retrieval_metrics(
        ranking, similarity.max(axis=1), right_matches(folder, mapped, queries)
    )


def recalls(describe: Describe, sets: list[Path]) -> dict[str, float]:
    """Recall@1 in % on each set."""
    return {s.name: 100 * evaluate_set(s, describe).recall[1] for s in sets}


def right_matches(folder: Path, mapped: list[Frame], queries: list[Frame]) -> np.ndarray:
    """bool (Q, N): the set's positives."""
    return positives(queries, places_of(mapped), TOLERANCE)


def add_validation_option(parser: argparse.ArgumentParser) -> None:
    """Add --data, the folder that `validation_sets` looks into."""
    parser.add_argument(
        '--data',
        type=Path,
        required=True,
        help='folder of validation sets, each with an index.csv',
    )


def validation_sets(data: Path) -> list[Path]:
    """The sets under `data` that have a map and queries; VprError where there is none."""
    folders = sorted(p.parent for p in data.glob('*/index.csv'))
    roles = {f: {row['role'] for _, row in read_rows(f / 'index.csv', ('role',))} for f in folders}
    sets = [f for f in folders if {'database', 'query'} <= roles[f]]
    if not sets:
        raise VprError(
            f'{data}: holds no set with the roles database and query in its index.csv; name '
            'another folder'
        )
    return sets


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'data', type=Path, help='folder of validation sets, each with an index.csv'
    )
    parser.add_argument(
        '--model', type=Path, help='exported student (.onnx; default: the one that is shipped)'
    )
    parser.add_argument(
        '--teachers',
        type=Path,
        help='folder of frozen networks (.onnx) to measure as well (default: none)',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write {set: {"descriptor": the first 20 database rows of each query, "verified": '
        'the same}} (default: not written)',
    )
    args = parser.parse_args(argv)
    if args.json:
        check_rankings(args.json)
    sets, embedder = validation_sets(args.data), Embedder(args.model or shipped_model())
    others = {} if args.teachers is None else _frozen(args.teachers)
    others |= {name: image_descriptors(describe) for name, describe in BASELINES.items()}
    found = {folder.name: answer_set(folder, embedder) for folder in sets}
    if args.json:
        write_rankings(args.json, found)
    print('\n'.join([embedder.name, *recall_table(found)]))
    _print_others(sets, others | _shorter(embedder))
    heads = f'calibration error  accepted at {100 * TARGET_PRECISION:g} %  right of these'
    print(f'\n{"":>20} {heads}')
    best = {name: [[*answers.values()][-1]] for name, answers in found.items()}
    for name, some in {**best, 'all of them': sum(best.values(), [])}.items():
        error, known, right = confidence_figures(some)
        print(f'{name:>20} {error:17.3f} {100 * known:17.1f} % {100 * right:13.1f} %')
    return 0


def _shorter(embedder: Embedder) -> dict[str, Describe]:
    """The student's descriptors cut to their first numbers, brought to length 1 again."""
    whole = student_descriptors(embedder)

    def cut(frames: list[Frame], numbers: int) -> np.ndarray:
        rows = whole(frames)[:, :numbers]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return {
        f'first {n} numbers': partial(cut, numbers=n) for n in _CUTS if n < embedder.dimensions
    }


def _print_others(sets: list[Path], others: dict[str, Describe]) -> None:
    print(f'\n{"":>20} {"others":>20}  R@1   R@5   R@10  AP')
    for folder in sets:
        for name, describe in others.items():
            centre = not name.startswith(_AS_THEY_ARE)
            metrics = evaluate_set(folder, describe, centre)
            recalls = '  '.join(f'{100 * metrics.recall.get(n, 1.0):5.1f}' for n in (1, 5, 10))
            print(f'{folder.name:>20} {name:>20} {recalls}  {metrics.average_precision:.3f}')


def _frozen(folder: Path) -> dict[str, Describe]:
    """The frozen networks in a folder; VprError without any."""
    teachers = sorted(folder.glob('*.onnx'))
    if not teachers:
        raise VprError(
            f'{folder}: holds no frozen network (.onnx); name another folder with --teachers'
        )
    return {path.stem: frozen_descriptors(path) for path in teachers}


if __name__ == '__main__':
    run_command(main)
