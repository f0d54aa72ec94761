# SPDX-License-Identifier: Apache-2.0
"""The loss network as an optional re-ranker of the exported student: trained, measured, written.

    python -m tools.training.studies.reranker models/ashtkd_student.onnx \\
        --config config/train/student.yaml --data ../shared/data/val -o models/ashtkd_reranker.onnx

In the student's training the loss network ranks the descriptors of one batch. Here it ranks those
of the finished student: the hardest candidates of thousands of views, as it would in a map, and
never the very same view. A fifth of the places is held out, and the network of the step that ranks
them best is kept. The file is written only where it raises the mean of the validation sets.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from tqdm import tqdm

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.files.writing import whole_file, write_errors
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import embed_frames
from ashtkd_ros.traverses.image_folder import read_source
from tools.training.config import TrainConfig, read_config
from tools.training.data.datasets import StudentViews, TrainingData
from tools.training.data.places import TrainingPlace
from tools.training.losses.loss_network import LossNetwork, ranking_network_loss
from tools.training.losses.ranking import same_place
from tools.training.outputs import check_model_output
from tools.training.studies.evaluate_sets import (
    add_validation_option,
    right_matches,
    validation_sets,
)
from tools.training.train import prepare

_CANDIDATES = 20
_BATCHES, _STEPS = 100, 600
_HELD_OUT, _CHECK_STEPS = 0.2, 25


@dataclass(frozen=True)
class DrawnViews:
    """Degraded training views: descriptors float32 (N, D); place, is a query, view, each (N,)."""

    descriptors: torch.Tensor
    places: torch.Tensor
    query: torch.Tensor
    views: torch.Tensor


def describe(embedder: Embedder, config: TrainConfig, data: TrainingData) -> DrawnViews:
    """The finished student's descriptors of batches that are drawn and degraded as in training."""
    seed = config.schedule.seed + 1
    schedule = replace(config.schedule, steps=_BATCHES, seed=seed, unlabelled=0.0, sizes=())
    images = StudentViews(data, schedule, embedder.preprocessing.size[0])
    batches, rows = data.batches(schedule), []
    for batch in tqdm(batches, desc='describe', delay=2):
        rows.append(embedder.run(np.stack([images[entry].numpy() for entry in batch])))
    entries = [entry for batch in batches for entry in batch]
    return DrawnViews(
        torch.from_numpy(np.concatenate(rows)),
        torch.tensor([e.place for e in entries]),
        torch.tensor([e.query for e in entries]),
        torch.arange(len(entries)),
    )


def maybe_same(all_places: list[TrainingPlace], rows: torch.Tensor) -> torch.Tensor:
    """bool (N, N): pairs of different places that may be the same in truth."""
    groups = defaultdict(list)
    for number, place in enumerate(rows.tolist()):
        groups[all_places[place].group].append(number)
    same = torch.zeros(len(rows), len(rows), dtype=torch.bool)
    for numbers in map(torch.tensor, groups.values()):
        members = [all_places[place] for place in rows[numbers].tolist()]
        if members[0].at:
            at = torch.tensor([m.at for m in members], dtype=torch.float32)
            same[numbers[:, None], numbers] = torch.cdist(at, at) < members[0].apart
    return same & (rows[:, None] != rows)


@dataclass(frozen=True)
class Pairs:
    """Descriptors of queries (Q, D) and database (N, D); bool (Q, N): right pairs, unsure pairs.

    Unsure, and so no candidates, are places that may be the same, and the very same view.
    """

    query: torch.Tensor
    database: torch.Tensor
    positive: torch.Tensor
    unsure: torch.Tensor


def pairs_of(
    drawn: DrawnViews, all_places: list[TrainingPlace], q: torch.Tensor, d: torch.Tensor
) -> Pairs:
    """Two parts of the views, bool (N,); queries without a right view are left out."""
    same_view = drawn.views[q][:, None] == drawn.views[d]
    positive = same_place(drawn.places[q], drawn.places[d]) & ~same_view
    unsure = maybe_same(all_places, drawn.places)[q][:, d] | same_view
    kept = positive.any(dim=1)
    vectors = drawn.descriptors
    return Pairs(vectors[q][kept], vectors[d], positive[kept], unsure[kept])


@torch.no_grad()
def recall_of(network: LossNetwork, pairs: Pairs) -> float:
    """Share of the queries of which the candidate ranked first is right."""
    similarity = (pairs.query @ pairs.database.T).masked_fill(pairs.unsure, -1.0)
    first = similarity.topk(min(_CANDIDATES, len(pairs.database)), dim=1).indices
    scores = network(pairs.query, pairs.database[first])
    chosen = first.gather(1, scores.argmax(dim=1, keepdim=True))
    return pairs.positive.gather(1, chosen).float().mean().item()


def train_reranker(drawn: DrawnViews, all_places: list[TrainingPlace], hidden: int) -> LossNetwork:
    """Step 5 of the method on fixed descriptors, 256 queries a step; the best on held-out places.

    Places in training see no views of the others; those are ranked among all.
    """
    torch.manual_seed(0)
    query, places = drawn.query, drawn.places
    known = places.unique()
    out = known[torch.randperm(len(known))[: max(1, int(_HELD_OUT * len(known)))]]
    held = torch.isin(places, out)
    learn = pairs_of(drawn, all_places, query & ~held, ~query & ~held)
    check = pairs_of(drawn, all_places, query & held, ~query)
    network = LossNetwork(drawn.descriptors.shape[1], hidden)
    best, state = recall_of(network, check), deepcopy(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    for step in tqdm(range(1, _STEPS + 1), desc='re-ranker', delay=2):
        chosen = torch.randperm(len(learn.query))[:256]
        losses = ranking_network_loss(
            network,
            learn.query[chosen],
            learn.database,
            learn.positive[chosen],
            _CANDIDATES,
            learn.unsure[chosen],
        )
        optimiser.zero_grad()
        losses.backward()
        optimiser.step()
        schedule.step()
        if step % _CHECK_STEPS == 0 and (recall := recall_of(network, check)) > best:
            best, state = recall, deepcopy(network.state_dict())
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def recalls(embedder: Embedder, network: LossNetwork, folder: Path) -> tuple[float, float]:
    """Recall@1 in % of a set by similarity alone, and with the first candidates re-ranked."""
    mapped, queries = read_source(folder, 'database'), read_source(folder, 'query')
    d, q = (torch.from_numpy(embed_frames(embedder, f, folder.name)) for f in (mapped, queries))
    first = (q @ d.T).topk(min(_CANDIDATES, len(d)), dim=1).indices
    again = first.gather(1, network(q, d[first]).argsort(dim=1, descending=True))
    right = torch.from_numpy(right_matches(folder, mapped, queries))
    return tuple(100 * right.gather(1, f[:, :1]).float().mean().item() for f in (first, again))


def write(network: LossNetwork, embedder: Embedder, path: Path) -> None:
    """Inputs `query` (Q, D) and `candidates` (Q, X, D), output `score` (Q, X), any Q and X."""
    with (
        write_errors(path, 'the model'),
        whole_file(path) as draft,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter('ignore')  # as in tools.training.export
        torch.onnx.export(
            network,
            (torch.zeros(2, embedder.dimensions), torch.zeros(2, 3, embedder.dimensions)),
            str(draft),
            input_names=['query', 'candidates'],
            output_names=['score'],
            dynamic_axes={
                'query': {0: 'queries'},
                'candidates': {0: 'queries', 1: 'candidates'},
                'score': {0: 'queries', 1: 'candidates'},
            },
            opset_version=17,
            dynamo=False,
        )
        model = onnx.load(str(draft))
        onnx.helper.set_model_props(model, {'licence': 'Apache-2.0', 'student': embedder.hash})
        onnx.save(model, str(draft))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('model', type=Path, help='exported student (.onnx)')
    parser.add_argument(
        '--config',
        type=Path,
        required=True,
        help='settings file of the training, such as config/train/student.yaml',
    )
    add_validation_option(parser)
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('models/ashtkd_reranker.onnx'),
        help='model file to write (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    check_model_output(args.out)
    config, embedder = read_config(args.config), Embedder(args.model)
    sets, data = validation_sets(args.data), prepare(config)
    drawn = describe(embedder, config, data)
    network = train_reranker(drawn, data.places.places, config.lesson.hidden)
    pairs = {folder.name: recalls(embedder, network, folder) for folder in sets}
    pairs['mean'] = tuple(np.mean(list(pairs.values()), axis=0))
    for name, (before, after) in pairs.items():
        print(f'{name:>20}  R@1 {before:5.1f}  re-ranked {after:5.1f}')
    before, after = pairs['mean']
    if after <= before:
        print(f'Re-ranking does not raise the mean: {args.out} is not written')
        return 0
    write(network, embedder, args.out)
    print(f'{args.out}: re-ranks the first {_CANDIDATES} candidates of {embedder.name}')
    return 0


if __name__ == '__main__':
    run_command(main)
