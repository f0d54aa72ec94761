# SPDX-License-Identifier: Apache-2.0
"""Fit the ranking network to a finished student, and ship it only where it beats the vote.

    python -m tools.training.studies.fit_ranker models/ashtkd_student.onnx \\
        --config config/train/student.yaml --val ../shared/data/val -o models/ashtkd_ranker.onnx

The student stays as it is. Its candidates, hard neighbours of the same set, are ranked by the best
pairs of the correlation matrix of local features, taught by cross-entropy over each list. Sets
count by the root of the number of their lists. The file is written only if the mean Recall@1 of
the validation sets is higher than by the vote, and no set loses more than 1 point.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file, write_errors
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.images.synthetic_change import degrade
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import SCALE, Look
from ashtkd_ros.recognition.verification import verify
from ashtkd_ros.traverses.image_folder import read_source
from tools.render.walks import EVALUATION_TOWNS, town_folder
from tools.training.config import read_config
from tools.training.data.candidate_lists import (
    CANDIDATES,
    CandidateList,
    candidate_lists,
    some_pictures,
)
from tools.training.data.held_back import without_held_back
from tools.training.data.places import TrainingPlaces
from tools.training.data.sources import read_places
from tools.training.networks.ranker import Ranker, list_loss
from tools.training.outputs import check_model_output
from tools.training.studies.evaluate_sets import right_matches, validation_sets
from tools.training.studies.student_sets import looks_of

_BATCH, _RATE, _DECAY = 32, 3e-3, 0.02
_PICTURES = 600  # of a domain, about
_LEFT_OUT = 0.25  # share of the wrong candidates that a step leaves out
_MOST_LOST = 1.0  # points of Recall@1, on any set
_PARITY = 1e-3


@dataclass(frozen=True)
class Lists:
    """N lists of at most K candidates: pairs (N, K, X, 6), similarity (N, K), bool right, known;
    weight float64 (N,), the share of each in the training."""

    pairs: torch.Tensor
    similarity: torch.Tensor
    right: torch.Tensor
    known: torch.Tensor
    weight: np.ndarray


def read_gallery(
    embedder: Embedder, places: TrainingPlaces, most: int, seed: int = 0
) -> tuple[list[Look], list[Look], list[CandidateList]]:
    """Looks at pictures as they are and as queries, half of them degraded; at most `most` lists of
    each domain, rows of both."""
    pictures, rng = some_pictures(places, _PICTURES, seed), np.random.default_rng(seed)
    images = [
        read_image(places.pictures[i].path) for i in tqdm(pictures, 'read', delay=2, disable=None)
    ]
    queries = (degrade(x, rng) if rng.random() < 0.5 else x for x in images)
    looks = [[embedder.describe(x) for x in some] for some in (images, queries)]
    descriptors = (np.stack([look.descriptor for look in some]) for some in looks)
    return *looks, candidate_lists(places, pictures, *descriptors, most, seed)


@torch.no_grad()
def read_lists(
    network: Ranker, mapped: list[Look], queries: list[Look], found: list[CandidateList]
) -> Lists:
    """The pairs of each list; VprError where there is none."""
    if not found:
        raise VprError('no place has two pictures and others beside it; give other `sources`')
    pairs = []
    for row in found:
        local = np.stack([mapped[i].local for i in row.candidates])
        pairs.append(network.pairs(_features(queries[row.query].local), _features(local)).half())
    similarities = [torch.from_numpy(row.similarity) for row in found]
    right = [torch.from_numpy(row.right) for row in found]
    sizes = Counter(row.domain for row in found)
    weight = np.array([sizes[row.domain] ** -0.5 for row in found])
    known = [torch.ones(len(s), dtype=torch.bool) for s in similarities]
    columns = (pad_sequence(c, batch_first=True) for c in (pairs, similarities, right, known))
    return Lists(*columns, weight / weight.sum())


def _features(local: np.ndarray) -> torch.Tensor:
    """int8 as in a map → float32, of about length 1."""
    return torch.from_numpy(local.astype(np.float32) / SCALE)


def train_ranker(network: Ranker, lists: Lists, steps: int, seed: int = 0) -> float:
    """Cross-entropy over the lists, AdamW with one cycle; returns the last steps' mean loss."""
    rng, losses = np.random.default_rng(seed), []
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    for _ in tqdm(range(steps), desc='ranker', delay=2, disable=None):
        i = torch.from_numpy(rng.choice(len(lists.weight), _BATCH, p=lists.weight))
        right = lists.right[i]
        known = lists.known[i] & (right | (torch.rand(right.shape) >= _LEFT_OUT))
        loss = list_loss(network, lists.pairs[i].float(), lists.similarity[i], right, known)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    network.eval()
    return float(np.mean(losses[-100:]))


@torch.no_grad()
def recalls(network: Ranker, embedder: Embedder, folder: Path) -> tuple[float, float]:
    """Recall@1 in % of a validation set by the vote and by the network, all queries."""
    mapped, queries = read_source(folder, 'database'), read_source(folder, 'query')
    looks, right = looks_of(embedder, mapped), right_matches(folder, mapped, queries)
    table = np.stack([look.descriptor for look in looks])
    hits = []
    for look, allowed in zip(looks_of(embedder, queries), right, strict=True):
        similarity = table @ look.descriptor
        ids = np.argsort(-similarity, kind='stable')[:CANDIDATES]
        local = np.stack([looks[i].local for i in ids])
        vote = verify(look.local, local, similarity[ids], embedder.local.grid).scores
        features = _features(look.local), _features(local)
        scores = network(*features, torch.from_numpy(similarity[ids])).numpy()
        hits.append([allowed[ids[vote.argmax()]], allowed[ids[scores.argmax()]]])
    by_vote, by_network = 100 * np.mean(hits, axis=0)
    return float(by_vote), float(by_network)


def verdict(found: dict[str, tuple[float, float]]) -> str:
    """Why the network does not ship, empty where it does: recalls by vote and network, by set."""
    gains = {name: after - before for name, (before, after) in found.items()}
    gain, worst = np.mean(list(gains.values())), min(gains, key=gains.get)
    if gain <= 0:
        return f'the mean changes by {gain:+.2f} points'
    if gains[worst] < -_MOST_LOST:
        return f'{worst} loses {-gains[worst]:.1f} points'
    return ''


def write_ranker(network: Ranker, embedder: Embedder, path: Path) -> None:
    """Inputs `query` (P, L), `candidates` (K, P, L), `similarity` (K,); output `score` (K,).

    VprError where ONNX Runtime does not score as the network does.
    """
    positions, channels = embedder.local.positions, embedder.local.channels
    inputs = (
        torch.nn.functional.normalize(torch.randn(positions, channels), dim=1),
        torch.nn.functional.normalize(torch.randn(5, positions, channels), dim=2),
        torch.rand(5),
    )
    names = ['query', 'candidates', 'similarity']
    with write_errors(path, 'the model'), whole_file(path) as draft, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # as in tools.training.export
        torch.onnx.export(
            network,
            inputs,
            str(draft),
            input_names=names,
            output_names=['score'],
            dynamic_axes={name: {0: 'candidates'} for name in (*names[1:], 'score')},
            opset_version=17,
            dynamo=False,
        )
        model = onnx.load(str(draft))
        onnx.helper.set_model_props(model, {'licence': 'Apache-2.0', 'student': embedder.hash})
        onnx.save(model, str(draft))
        session = onnxruntime.InferenceSession(str(draft), providers=['CPUExecutionProvider'])
        for count in (5, 2):
            few = (inputs[0], inputs[1][:count], inputs[2][:count])
            fed = {name: value.numpy() for name, value in zip(names, few, strict=True)}
            with torch.no_grad():
                difference = np.abs(session.run(['score'], fed)[0] - network(*few).numpy()).max()
            if not difference <= _PARITY:
                raise VprError(f'{path}: ONNX Runtime scores differ by {difference:.2g}')


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument('model', type=Path, help='exported student (.onnx) with local features')
    parser.add_argument(
        '--config',
        type=Path,
        required=True,
        help='settings file whose `sources` it learns from, such as config/train/student.yaml',
    )
    parser.add_argument(
        '--val', type=Path, required=True, help='folder of validation sets, for the report'
    )
    parser.add_argument(
        '--lists',
        type=positive_count,
        default=300,
        help='lists of each set or town at most (default: %(default)s)',
    )
    parser.add_argument(
        '--steps',
        type=positive_count,
        default=1500,
        help='steps of 32 lists (default: %(default)s)',
    )
    parser.add_argument(
        '--anyway', action='store_true', help='write the file even if the vote is better'
    )
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('models/ashtkd_ranker.onnx'),
        help='model file to write (default: %(default)s)',
    )
    return parser


def _refuse_evaluation(places: TrainingPlaces) -> None:
    """VprError where there are pictures of a town that networks are measured by."""
    kept = {town_folder(Path(), town).name for town in EVALUATION_TOWNS}
    for domain in sorted({place.domain for place in places.places}):
        if Path(domain).name in kept:
            raise VprError(f'{domain}: is for evaluation; take it out of `sources`')


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    check_model_output(args.out)
    config, sets = read_config(args.config), validation_sets(args.val)
    embedder = Embedder(args.model)
    if embedder.local is None:
        raise VprError(f'{args.model}: has no local features; train a student with `local`')
    network = Ranker(embedder.local.grid)
    places = without_held_back(read_places(config.sources), config.sources, config.held_back)
    _refuse_evaluation(places)
    lists = read_lists(network, *read_gallery(embedder, places, args.lists))
    loss = train_ranker(network, lists, args.steps)
    print(f'{len(lists.weight)} lists, cross-entropy {loss:.3f}')
    result = {folder.name: recalls(network, embedder, folder) for folder in sets}
    for name, (vote, ranked) in result.items():
        print(f'{name:>20}  R@1 vote {vote:5.1f}  ranker {ranked:5.1f}')
    vote, ranked = np.mean(list(result.values()), axis=0)
    print(f'{"mean":>20}  R@1 vote {vote:5.2f}  ranker {ranked:5.2f}')
    if (fault := verdict(result)) and not args.anyway:
        raise VprError(f'{args.out} is not written: {fault}; the vote stays, or give --anyway')
    write_ranker(network, embedder, args.out)
    print(f'{args.out}: ranks the candidates of {embedder.name}')
    return 0


if __name__ == '__main__':
    run_command(main)
