# SPDX-License-Identifier: Apache-2.0
"""Recall of the shipped student on the validation sets, with HOG and raw pixels beside it.

The student is measured as the node uses it. Of frozen networks and HOG the mean descriptor of the
database is subtracted first: descriptors that are never negative would look alike without it.

    python -m tools.training.studies.evaluate_sets ../shared/data/val --teachers ../shared/teachers

What is right is stated in the README of the sets: the same place, or at most 2 frames or 25 m and
45 degrees away.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.baselines import BASELINES
from ashtkd_ros.evaluation.ground_truth import Tolerance, positives
from ashtkd_ros.evaluation.metrics import Metrics, calibration, retrieval_metrics
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder, resize
from ashtkd_ros.network.parallel_embedding import embed_frames
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.recognition.recogniser import MIN_CONFIDENCE
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.bench.embedding import TIMED_SIZE, open_session

# Frames → descriptors (N, D), rows of length 1.
Describe = Callable[[list[Frame]], np.ndarray]
_AS_THEY_ARE = ('raw pixels 32x32',)  # of mean 0 already
_TOLERANCE = Tolerance(metres=25.0, degrees=45.0, frames=2)


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
    places = [Place(i, f.stamp, f.order, f.pose, f.name, f.label) for i, f in enumerate(mapped)]
    return positives(queries, places, _TOLERANCE)


def confidence_figures(
    folder: Path, embedder: Embedder, describe: Describe, least: float
) -> tuple[float, float, float]:
    """Expected calibration error of the confidence, share of the queries that reach `least`, share
    of these that are right."""
    mapped, queries = read_source(folder, 'database'), read_source(folder, 'query')
    places = [Place(i, f.stamp, f.order, f.pose, f.name, f.label) for i, f in enumerate(mapped)]
    place_map = PlaceMap.build(describe(mapped), places, embedder)
    matcher = Matcher(place_map, MatcherConfig(top_k=1))
    best = [matcher.match(descriptor)[0] for descriptor in describe(queries)]
    right = positives(queries, places, _TOLERANCE)[range(len(best)), [b.place.id for b in best]]
    confidence = np.array([b.confidence for b in best])
    known = confidence >= least
    share = right[known].mean() if known.any() else np.nan
    return calibration(confidence, right).error, known.mean(), share


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
    args = parser.parse_args(argv)
    embedder = Embedder(args.model or shipped_model())
    methods = {embedder.name: student_descriptors(embedder)}
    if args.teachers:
        teachers = sorted(args.teachers.glob('*.onnx'))
        if not teachers:
            raise VprError(
                f'{args.teachers}: holds no frozen network (.onnx); name another folder with '
                '--teachers'
            )
        methods |= {path.stem: frozen_descriptors(path) for path in teachers}
    methods |= {name: image_descriptors(describe) for name, describe in BASELINES.items()}
    print(f'{"":>20} {"":>20}  R@1   R@5   R@10  AP')
    for folder in validation_sets(args.data):
        for name, describe in methods.items():
            centre = name not in (embedder.name, *_AS_THEY_ARE)
            metrics = evaluate_set(folder, describe, centre)
            recalls = '  '.join(f'{100 * metrics.recall.get(n, 1.0):5.1f}' for n in (1, 5, 10))
            print(f'{folder.name:>20} {name:>20} {recalls}  {metrics.average_precision:.3f}')
    least = MIN_CONFIDENCE
    print(f'\n{"":>20} calibration error  confidence >= {least}  right of these')
    for folder in validation_sets(args.data):
        error, known, right = confidence_figures(folder, embedder, methods[embedder.name], least)
        print(f'{folder.name:>20} {error:17.3f} {100 * known:17.1f} % {100 * right:13.1f} %')
    return 0


if __name__ == '__main__':
    run_command(main)
