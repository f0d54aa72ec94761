# SPDX-License-Identifier: Apache-2.0
"""Recall@1 of each teacher alone and of their mixtures on the validation sets.

    python -m tools.training.studies.teachers --config config/train/student.yaml \\
        --data ../shared/data/val

Teachers that are not finished are made first. Each is measured by its descriptor alone, and
verified: its own maps of 14 x 14 positions decide among its own 30 best candidates, as a student's
local features do. The mixtures are of standardised similarities, and of the maps of all trunks
side by side. One has equal weights, as where nothing is known of the query. The other has the
weights of the method's step 1, for which the right places must be known: so a student is taught,
but no query of a robot could be answered. It is an upper bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import resize
from ashtkd_ros.network.local_features import SCALE
from ashtkd_ros.recognition.verification import verify
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.training.config import Lesson, read_config
from tools.training.finished_teacher import Teacher
from tools.training.losses.adaptive_weights import adaptive_weights
from tools.training.networks.shared_trunk import SIDE
from tools.training.studies.evaluate_sets import (
    add_validation_option,
    right_matches,
    validation_sets,
)
from tools.training.teachers import make_teachers
from tools.training.train import prepare

EQUAL, ADAPTIVE = 'mixture, equal weights', 'mixture, weights of step 1'
_CANDIDATES, _BATCH, _SIZE = 30, 20, (224, 224)


@dataclass(frozen=True)
class Seen:
    """What a teacher says of N pictures: descriptors float32 (N, D), maps int8 (N, P, C) or None.

    Each row of the maps is of length 1, times 127.
    """

    descriptors: torch.Tensor
    maps: np.ndarray | None


def look(teachers: Sequence[Teacher], frames: list[Frame]) -> list[Seen]:
    """What each teacher says of the frames; teachers on one trunk look once."""
    descriptors, maps = ([[] for _ in teachers] for _ in range(2))
    for start in tqdm(range(0, len(frames), _BATCH), unit='batch', delay=2, disable=None):
        images = np.stack([resize(f.read(), _SIZE) for f in frames[start : start + _BATCH]])
        images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        for k, teacher in enumerate(teachers):
            said = teacher(images)
            descriptors[k].append(said.descriptor.cpu())
            if said.maps is not None:
                maps[k].append((said.maps * SCALE).round().to(torch.int8).cpu().numpy())
    return [
        Seen(torch.cat(d), np.concatenate(m) if m else None)
        for d, m in zip(descriptors, maps, strict=True)
    ]


def recall(similarity: np.ndarray, right: np.ndarray) -> float:
    """Recall@1 in %, of similarities float (Q, N) and the positives, bool (Q, N)."""
    return 100 * float(right[range(len(right)), similarity.argmax(axis=1)].mean())


def verified_recall(
    similarity: np.ndarray, right: np.ndarray, queries: np.ndarray, places: np.ndarray
) -> float:
    """The same after the maps, (Q, P, C) and (N, P, C), have decided among the candidates."""
    hits = []
    for i, row in enumerate(similarity):
        best = np.argsort(-row, kind='stable')[:_CANDIDATES]
        scores = verify(
            queries[i], places[best], row[best].astype(np.float32), (SIDE, SIDE)
        ).scores
        hits.append(right[i, best[scores.argmax()]])
    return 100 * float(np.mean(hits))


def mixed(similarities: torch.Tensor, weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Standardised similarities (K, Q, N), weights (Q, K) → (Q, N), of a cosine's size again.

    `scales`: (K, 2), mean and deviation of each teacher. Verification adds a similarity to the
    score of the maps, and so it may not grow.
    """
    mean, deviation = scales.mean(dim=0)
    return torch.einsum('qk,kqn->qn', weights, similarities) * deviation + mean


def measure(
    teachers: Sequence[Teacher], lesson: Lesson, folder: Path
) -> dict[str, tuple[float, float]]:
    """Of each teacher and mixture Recall@1 in % on a set, by descriptor and verified.

    NaN where there are no maps.
    """
    mapped, asked = read_source(folder, 'database'), read_source(folder, 'query')
    right = right_matches(folder, mapped, asked)
    places, queries = look(teachers, mapped), look(teachers, asked)
    rows, similarities = {}, []
    for teacher, d, q in zip(teachers, places, queries, strict=True):
        similarity = q.descriptors @ d.descriptors.T
        similarities.append(teacher.standardised(similarity))
        rows[teacher.name] = _pair(similarity.numpy(), right, q.maps, d.maps)
    standardised = torch.stack(similarities)
    scales = torch.tensor([teacher.scale for teacher in teachers])
    # A trunk's maps count once, whatever teachers are on it.
    own = [k for k, t in enumerate(teachers) if t.outputs([0]).maps is not None]
    sides = [_side_by_side([seen[k].maps for k in own]) for seen in (queries, places)]
    equal = torch.full((len(right), len(teachers)), 1 / len(teachers))
    positive = torch.from_numpy(right)
    known = adaptive_weights(
        standardised, positive, torch.ones_like(positive), lesson.tau_t, lesson.tau_w
    )
    for name, weights in ((EQUAL, equal), (ADAPTIVE, known)):
        similarity = mixed(standardised, weights, scales).numpy()
        rows[name] = _pair(similarity, right, *sides)
    return rows


def _side_by_side(maps: list[np.ndarray]) -> np.ndarray | None:
    return np.concatenate(maps, axis=2) if maps else None


def _pair(
    similarity: np.ndarray,
    right: np.ndarray,
    queries: np.ndarray | None,
    places: np.ndarray | None,
) -> tuple[float, float]:
    verified = np.nan
    if queries is not None:
        verified = verified_recall(similarity, right, queries, places)
    return recall(similarity, right), verified


def table(found: dict[str, dict[str, tuple[float, float]]]) -> str:
    """Markdown: a row a teacher, a column a set and their mean; descriptor / verified."""
    names = list(found)
    lines = [f'| | {" | ".join(names)} | mean |', '|---|' + '---|' * (len(names) + 1)]
    for row in found[names[0]]:
        values = np.array([found[name][row] for name in names])
        cells = [_cell(*pair) for pair in (*values, values.mean(axis=0))]
        lines.append(f'| {row} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _cell(alone: float, verified: float) -> str:
    return f'{alone:.1f}' + ('' if np.isnan(verified) else f' / {verified:.1f}')


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--config',
        type=Path,
        required=True,
        help='settings file of the training, such as config/train/student.yaml',
    )
    add_validation_option(parser)
    parser.add_argument(
        '--names',
        nargs='+',
        metavar='NAME',
        help="teachers to measure (default: those of the student's lesson)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    config, sets = read_config(args.config), validation_sets(args.data)
    names = args.names or config.lesson.teachers
    known = [t.name for t in config.teachers]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise VprError(
            f'{args.config}: no teacher is named {unknown[0] if unknown else "in the lesson"}; '
            f'the teachers are {", ".join(known) or "none"}'
        )
    teachers = make_teachers(config, prepare(config), names)
    found = {}
    for folder in sets:
        found[folder.name] = measure(teachers, config.lesson, folder)
        print(f'\n{folder.name}\n' + table({folder.name: found[folder.name]}), flush=True)
    print(f'\nRecall@1 in %, descriptor / verified\n\n{table(found)}')
    return 0


if __name__ == '__main__':
    run_command(main)
