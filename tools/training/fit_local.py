# SPDX-License-Identifier: Apache-2.0
"""Fit local features and the layout-free half of the descriptor to a finished student.

    python -m tools.training.fit_local models/ashtkd_student.onnx --data ../shared/data/train \\
        -o runs/local/ashtkd_student.onnx

The network's body stays as it is. Local features are one linear layer on its maps. The layer
starts as their principal axes, or with --teacher as the ridge regression onto the whitened map of
a frozen trunk, and is trained for minutes: what two views of a picture show at matching positions
shall be alike (InfoNCE, van den Oord et al., 2018). The layout-free half sums up the local
features without their positions, see `networks.local`. The confidence is fitted again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ashtkd_ros.cli.arguments import count, positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.files.writing import write_bytes, write_errors
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import Embedder, resize
from tools.training.calibrate import calibrate
from tools.training.config import Source, read_config
from tools.training.data.known_matches import MatchedViews, matched_views, picture_pairs
from tools.training.export import check_parity, metadata_of, write_onnx
from tools.training.networks.layers import count as count_operations
from tools.training.networks.layers import unit
from tools.training.networks.local import CENTRES, FREE_DIMENSIONS, LocalHead
from tools.training.networks.student import DSFormer, StudentConfig
from tools.training.networks.trunk import FrozenTrunk
from tools.training.outputs import check_model_output
from tools.training.whitening import POWER, whitening_layer

WEBCAMS = ('amos_daynight', 'singapore_cameras', 'tilde_webcam', 'webcam_las_vegas')
_TEMPERATURE, _RATE, _RIDGE = 0.07, 2e-3, 1e-3
_BATCH = 32
_LEAST_LOCAL = 0.99


@dataclass(frozen=True)
class LocalOptions:
    """`pictures`: of a set at most; `pairs`: of views, drawn once; `batch`: pairs in a step;
    `teacher`: a frozen trunk to start from."""

    channels: int = 64
    dimensions: int = 320
    steps: int = 1500
    pairs: int = 5000
    batch: int = 8
    pictures: int = 300
    teacher: Path | None = None
    seed: int = 0


def load_finished(path: Path, options: LocalOptions) -> DSFormer:
    """The network of an exported student, with layers for local features that are new."""
    Embedder(path)  # refuses what a robot would refuse
    graph = onnx.load(str(path)).graph
    widths = [x.dims[0] for x in graph.initializer if x.name == 'project.bias']
    levels = sum(output.name.startswith('salient') for output in graph.output)
    body = StudentConfig(dimensions=widths[0] if widths else 1)
    if not widths or levels != len(body.vit_widths) + 2:
        raise VprError(f'{path}: is not an exported student of three levels, which is needed')
    network = DSFormer(replace(body, local=options.channels, combined=options.dimensions))
    _check_sizes(options, network)
    finished = DSFormer(body)
    finished.load_exported(path)
    network.load_state_dict({**network.state_dict(), **finished.state_dict()})
    return network.eval()


def _check_sizes(options: LocalOptions, network: DSFormer) -> None:
    """VprError for numbers that the maps cannot give."""
    most = network.local.project.in_features
    if not 1 < options.channels <= most:
        raise VprError(f'local features have from 2 to {most} numbers, not {options.channels}')
    most = network.combine.turn.in_features
    if not 1 < options.dimensions <= most:
        raise VprError(f'the descriptor has from 2 to {most} numbers, not {options.dimensions}')


def training_pictures(data: Path, each: int, seed: int) -> list[Path]:
    """At most `each` pictures of every set (index.csv) under `data`; VprError for too few."""
    rng, files = np.random.default_rng(seed), []
    for table in sorted(data.glob('*/index.csv')):
        names = [row['file'] for _, row in read_rows(table, ('file',))]
        files += [table.parent / names[i] for i in rng.permutation(len(names))[:each]]
    if not files:
        raise VprError(f'{data}: holds no set (a folder with index.csv); name another folder')
    if len(files) <= FREE_DIMENSIONS:
        raise VprError(f'{data}: has {len(files)} pictures; give more than {FREE_DIMENSIONS}')
    return files


def as_input(images: list[np.ndarray]) -> torch.Tensor:
    """uint8 (S, S, 3) RGB images → float32 (B, 3, S, S) in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def pictures_of(files: list[Path], size: int) -> torch.Tensor:
    """The whole pictures as the network takes them."""
    return as_input([resize(read_image(file), (size, size)) for file in files])


@torch.no_grad()
def stacked_maps(network: DSFormer, files: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of whole pictures: layout-bound halves (N, A), and stacked maps (N, P, C) as float16."""
    bound, stacked = [], []
    for start in tqdm(range(0, len(files), _BATCH), desc='maps', unit='batch', delay=2):
        images = pictures_of(files[start : start + _BATCH], network.config.image_size)
        outputs, levels = network.describe_levels(images)
        bound.append(unit(outputs.descriptor))
        stacked.append(network.local.stacked(levels).half())
    return torch.cat(bound), torch.cat(stacked)


def start_as_axes(head: LocalHead, stacked: torch.Tensor) -> None:
    """The linear layer as the PCA-whitening of the stacked maps (N, P, C)."""
    rows = stacked[:: max(1, len(stacked) // 800)].flatten(0, 1)
    head.project = whitening_layer(rows, head.channels, POWER)


@torch.no_grad()
def start_as_ridge(
    head: LocalHead, stacked: torch.Tensor, files: list[Path], trunk: FrozenTrunk, size: int
) -> float:
    """The layer as the ridge regression onto a trunk's whitened map; the share explained."""
    some = range(0, len(files), max(1, len(files) // 900))
    targets = []
    for start in tqdm(range(0, len(some), _BATCH), desc='teacher', unit='batch', delay=2):
        images = pictures_of([files[i] for i in some[start : start + _BATCH]], size)
        feature_map, _ = trunk.features(images)
        targets.append(F.adaptive_avg_pool2d(feature_map, head.side).flatten(2).transpose(1, 2))
    target = torch.cat(targets).flatten(0, 1)
    target = F.normalize(whitening_layer(target, head.channels, POWER)(target), dim=1)
    x = stacked[list(some)].flatten(0, 1).float()
    mean, middle = x.mean(0), target.mean(0)
    covariance = (x - mean).T @ (x - mean)
    ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(x.shape[1])
    weight = torch.linalg.solve(covariance + ridge, (x - mean).T @ (target - middle)).T
    head.project.weight.copy_(weight)
    head.project.bias.copy_(middle - weight @ mean)
    rest = ((head.project(x) - target) ** 2).sum() / ((target - middle) ** 2).sum()
    return 1.0 - float(rest)


@torch.no_grad()
def matched_maps(
    network: DSFormer, pairs: list[tuple[Path, Path]], seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views of each pair → stacked maps (N, 2, P, C) as float16, partners int64 (N, P)."""
    head, stacked, partners = network.local, [], []
    draw = partial(_views, size=network.config.image_size, side=head.side)
    with ThreadPoolExecutor(2) as pool:
        for start in tqdm(range(0, len(pairs), _BATCH // 2), desc='views', unit='batch', delay=2):
            some = pairs[start : start + _BATCH // 2]
            seeds = [(seed, start + i) for i in range(len(some))]
            first, second, known = zip(*pool.map(draw, some, seeds), strict=True)
            _, levels = network.describe_levels(as_input([*first, *second]))
            both = head.stacked(levels).half().chunk(2)
            stacked.append(torch.stack(both, dim=1))
            partners.append(torch.from_numpy(np.stack(known)))
    return torch.cat(stacked), torch.cat(partners)


def _views(pair: tuple[Path, Path], seed: tuple[int, int], size: int, side: int) -> MatchedViews:
    return matched_views(pair, size, side, np.random.default_rng(seed))


def train_head(network: DSFormer, pairs: list[tuple[Path, Path]], options: LocalOptions) -> float:
    """Train the linear layer on known matches; the mean loss of the last tenth of the steps."""
    head, losses = network.local, []
    stacked, partners = matched_maps(network, pairs, options.seed)
    optimiser = torch.optim.Adam(head.project.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    rng = np.random.default_rng(options.seed)
    for _ in tqdm(range(options.steps), desc='matches', unit='step', delay=2):
        chosen = rng.choice(len(pairs), min(options.batch, len(pairs)), replace=False)
        loss = match_loss(head, stacked[chosen].float(), partners[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    tail = losses[-max(1, options.steps // 10) :]
    return float(np.mean(tail))


def match_loss(head: LocalHead, stacked: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """InfoNCE over all positions of all second views in the batch.

    `stacked`: float32 (B, 2, P, C), first and second views; `partners`: int64 (B, P), -1 for
    positions without partner.
    """
    first, second = F.normalize(head.project(stacked), dim=3).unbind(1)
    target = partners + partners.shape[1] * torch.arange(len(partners))[:, None]
    known = partners >= 0
    similarity = first[known] @ second.flatten(0, 1).T / _TEMPERATURE
    return F.cross_entropy(similarity, target[known])


@torch.no_grad()
def fit_free_half(
    network: DSFormer, bound: torch.Tensor, stacked: torch.Tensor, seed: int
) -> None:
    """Centres, whitening and axes of the descriptor, from whole pictures; see `LayoutFree`."""
    head, combine = network.local, network.combine
    local = torch.cat([F.normalize(head.project(s.float()), dim=2) for s in stacked.split(256)])
    some = local[::2, torch.randperm(local.shape[1], generator=torch.manual_seed(seed))[:40]]
    clusters = faiss.Kmeans(head.channels, CENTRES, niter=20, spherical=True, seed=seed)
    clusters.train(np.ascontiguousarray(some.flatten(0, 1).numpy()))
    combine.centres.copy_(torch.from_numpy(clusters.centroids))
    residuals = torch.cat([combine.residuals(part) for part in local.split(256)])
    combine.whiten = whitening_layer(residuals, FREE_DIMENSIONS, POWER)
    halves = torch.cat(
        [combine.halves(b, x) for b, x in zip(bound.split(256), local.split(256), strict=True)]
    )
    # Axes of the second moment, not of the covariance: a rotation keeps every inner product.
    _, axes = torch.linalg.eigh(halves.T @ halves)
    combine.turn.weight.copy_(axes.flip(1)[:, : network.config.combined].T)


def fit(
    model: Path, data: Path, options: LocalOptions
) -> tuple[DSFormer, dict[str, float], list[Path]]:
    """The network with fitted local features, what was measured, and the pictures used."""
    network = load_finished(model, options)
    files = training_pictures(data, options.pictures, options.seed)
    trunk = FrozenTrunk(options.teacher) if options.teacher else None
    if trunk is not None and not trunk.has_map:
        raise VprError(f'{options.teacher}: has no output "map"; give another teacher')
    bound, stacked = stacked_maps(network, files)
    measured = {}
    if trunk is None:
        start_as_axes(network.local, stacked)
    else:
        size = network.config.image_size
        measured['explained'] = start_as_ridge(network.local, stacked, files, trunk, size)
    if options.steps:
        rng = np.random.default_rng(options.seed)
        pairs = picture_pairs(data, WEBCAMS, options.pictures, rng)
        pairs = [pairs[i] for i in rng.permutation(len(pairs))[: options.pairs]]
        measured['loss'] = train_head(network, pairs, options)
    fit_free_half(network, bound, stacked, options.seed)
    return network.eval(), measured, files


@torch.no_grad()
def check_local(network: DSFormer, path: Path, files: list[Path]) -> float:
    """Least cosine between ONNX Runtime's local features and numpy's; VprError below 0.99.

    ONNX Runtime's come as int8, as a map keeps them. The linear layer is done by numpy here.
    """
    embedder, head, least = Embedder(path), network.local, 1.0
    weight, bias = (x.numpy() for x in (head.project.weight, head.project.bias))
    size = (network.config.image_size,) * 2
    for file in files:
        image = resize(read_image(file), size)
        _, levels = network.describe_levels(as_input([image]))
        ours = head.stacked(levels)[0].numpy() @ weight.T + bias
        ours /= np.linalg.norm(ours, axis=1, keepdims=True)
        theirs = embedder.describe(image).local.astype(np.float32)
        theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
        least = min(least, float((ours * theirs).sum(axis=1).min()))
    if not least >= _LEAST_LOCAL:  # NaN as well
        raise VprError(f'{path}: its local features differ from numpy, least cosine {least:.5f}')
    return least


def write(
    network: DSFormer, files: list[Path], out: Path, data: Path, sources: Sequence[Source]
) -> dict[str, float]:
    """Export, check against torch and numpy, fit the confidence; what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        write_onnx(network, draft, metadata_of(network, out.stem))
        jpegs = [np.fromfile(file, np.uint8) for file in files[:64]]
        million, billion = count_operations(
            network, torch.zeros(1, 3, *[network.config.image_size] * 2)
        )
        measured = {'M parameters': million, 'GMAC': billion}
        measured |= {'least cosine': check_parity(network, draft, jpegs)}
        measured['least cosine of local, int8'] = check_local(network, draft, files[:16])
        fitted = calibrate(draft, data, sources)
        Embedder(draft)  # refuses what a robot would refuse
        with write_errors(out, 'the model'):
            write_bytes(out, draft.read_bytes())
    if not fitted:
        print(f'{data}: has no set with `positives` in the settings; the confidence is not fitted')
    return measured | fitted


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    default = LocalOptions()
    parser.add_argument('model', type=Path, help='exported student (.onnx); it is not changed')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder of training sets, each with an index.csv'
    )
    parser.add_argument('-o', '--out', type=Path, required=True, help='model file to write')
    parser.add_argument(
        '--channels',
        type=positive_count,
        default=default.channels,
        help='numbers of a local feature (default: %(default)s)',
    )
    parser.add_argument(
        '--dimensions',
        type=positive_count,
        default=default.dimensions,
        help='numbers of the descriptor (default: %(default)s)',
    )
    parser.add_argument(
        '--steps',
        type=count,
        default=default.steps,
        help='training steps of 8 pairs of views; 0: the start as it is (default: %(default)s)',
    )
    parser.add_argument(
        '--teacher',
        type=Path,
        help="frozen trunk (.onnx) whose map the layer starts from (default: the student's own)",
    )
    parser.add_argument(
        '--config',
        type=Path,
        default=Path('config/train/student.yaml'),
        help='settings file whose `positives` the confidence is fitted to (default: %(default)s)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    check_model_output(args.out)
    sources = read_config(args.config).sources
    options = LocalOptions(args.channels, args.dimensions, args.steps, teacher=args.teacher)
    network, measured, files = fit(args.model, args.data, options)
    measured |= write(network, files, args.out, args.data, sources)
    print(f'{args.out}: ' + ', '.join(f'{k} {v:.5g}' for k, v in measured.items()))
    return 0


if __name__ == '__main__':
    run_command(main)
