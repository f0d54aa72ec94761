# SPDX-License-Identifier: Apache-2.0
"""The teachers of a config, made before the student: trained once, then kept with their outputs.

A teacher's folder, `out`/teachers/NAME, holds teacher.pt (weights) and taught.npz (its outputs for
every fixed view); it counts as finished when the second is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ashtkd_ros.errors import VprError
from tools.training.config import TeacherConfig, TrainConfig, as_plain
from tools.training.data.datasets import TrainingData, TrunkMaps
from tools.training.data.views import load_arrays, save_arrays
from tools.training.loop import Run, train
from tools.training.networks.apformer import APFormer
from tools.training.networks.layers import NetworkOutput, count
from tools.training.networks.teacher import SharedTrunk, Teacher
from tools.training.objective import objective_for
from tools.training.processes import first_alone, is_first, wait_for_all
from tools.training.run_folder import check_settings, first_line, start_folder, write_torch
from tools.training.run_results import write_results
from tools.training.whitening import whitening_layer


def make_teachers(
    config: TrainConfig, data: TrainingData, names: Sequence[str] | None = None
) -> list[Teacher]:
    """The teachers of these names, by default those of the student's lesson, finished.

    Those that are not yet trained are; so are first those that teach them. VprError where a
    finished one is of other settings or of other views.
    """
    names = config.lesson.teachers if names is None else names
    finished: dict[str, Teacher] = {}
    trunks: dict[Path, SharedTrunk] = {}
    order = _teaching_order(config, names)
    wait_for_all()  # no process may find what another has just made
    for teacher, is_new in order:
        if is_new:
            guides = [finished[name] for name in teacher.lesson.teachers if teacher.apformer]
            _make(_Plan(config, teacher), data, guides)
        elif is_first():
            _check(config, teacher)
        trunk = trunks.setdefault(teacher.trunk, SharedTrunk(teacher.trunk))
        finished[teacher.name] = _load(_Plan(config, teacher), data, trunk)
    return [finished[name] for name in names]


def _teaching_order(config: TrainConfig, names: Sequence[str]) -> list[tuple[TeacherConfig, bool]]:
    """Each teacher after those that teach it, and whether it is still to be made.

    A finished one needs no teachers any more.
    """
    by_name = {t.name: t for t in config.teachers}
    order: dict[str, tuple[TeacherConfig, bool]] = {}

    def visit(name: str) -> None:
        if name in order:
            return
        teacher = by_name[name]
        is_new = not _Plan(config, teacher).outputs_file.exists()
        if is_new and teacher.apformer is not None:
            for other in teacher.lesson.teachers:
                visit(other)
        order[name] = teacher, is_new

    for name in names:
        visit(name)
    return list(order.values())


class _Plan:
    """One teacher to make: its settings, and where its files are."""

    def __init__(self, config: TrainConfig, teacher: TeacherConfig):
        self.teacher = teacher
        self.folder = config.out / 'teachers' / teacher.name
        self.weights_file = self.folder / 'teacher.pt'
        self.outputs_file = self.folder / 'taught.npz'
        self.settings = {'teacher': as_plain(teacher), 'data': as_plain(config)['sources']}


def _check(config: TrainConfig, teacher: TeacherConfig) -> None:
    """VprError where a finished teacher, or one that it learned from, was of other settings."""
    plan = _Plan(config, teacher)
    check_settings(plan.folder, plan.settings)
    if teacher.apformer is not None:
        for other in config.teachers:
            if other.name in teacher.lesson.teachers:
                _check(config, other)


def _make(plan: _Plan, data: TrainingData, guides: list[Teacher]) -> None:
    """Train an APFormer, or whiten a frozen trunk; write the weights and the outputs."""
    teacher = plan.teacher
    start_folder(plan.folder, plan.settings)
    with first_alone():
        features = data.views.trunk_features(teacher.trunk)
    whole = data.views.whole()
    if teacher.apformer is None:
        vectors = torch.from_numpy(features.pooled)
        network = _fitted(vectors[whole], teacher.dimensions)
        outputs = _whitened_outputs(network, vectors)
    elif features.maps is None:
        raise VprError(f'{teacher.trunk}: has no output "map"; an APFormer needs one')
    else:
        network = _train_apformer(plan, data, features.maps, guides)
        outputs = _apformer_outputs(network, features.maps, whole, teacher.dimensions)
    if is_first():
        write_torch(plan.weights_file, network.state_dict())
        arrays = {'descriptors': outputs.descriptor.numpy()}
        for name in ('sums', 'maps'):
            arrays |= {f'{name}{i}': x.numpy() for i, x in enumerate(getattr(outputs, name))}
        save_arrays(plan.outputs_file, **arrays)
    wait_for_all()


def _load(plan: _Plan, data: TrainingData, trunk: SharedTrunk) -> Teacher:
    """A finished teacher from its files."""
    file = plan.outputs_file
    arrays = {name: torch.from_numpy(x) for name, x in load_arrays(file).items()}
    if len(arrays['descriptors']) != len(data.views.jpegs):
        raise VprError(f'{file}: made of other views; remove it; it will be made again')
    levels = range(sum(name.startswith('sums') for name in arrays))
    sums, maps = ([arrays[f'{kind}{i}'] for i in levels] for kind in ('sums', 'maps'))
    axes = data.views.folder_of(plan.teacher.trunk) / 'axes.npy'
    outputs = NetworkOutput(arrays['descriptors'], sums, maps)
    return Teacher(plan.teacher.name, outputs, _load_network(plan), trunk, axes)


def _load_network(plan: _Plan) -> nn.Module:
    """An APFormer, or the whitening of a frozen trunk's vector."""
    file = plan.weights_file
    try:
        state = torch.load(file, weights_only=True, map_location='cpu')
        if plan.teacher.apformer is None:
            network = nn.Linear(*reversed(state['weight'].shape))
        else:
            channels, positions = (
                state[f'down.{k}'].shape[1] for k in ('merge.weight', 'position')
            )
            network = APFormer(channels, round(positions**0.5), plan.teacher.apformer)
            network.project = nn.Linear(*reversed(state['project.weight'].shape))
        network.load_state_dict(state)
    except Exception as error:  # torch's loader raises many kinds
        raise VprError(
            f'{file}: cannot be read ({first_line(error)}); remove {plan.folder}; the '
            'teacher will be made again'
        ) from error
    return network


@torch.no_grad()
def _whitened_outputs(whitening: nn.Linear, vectors: torch.Tensor) -> NetworkOutput:
    """The outputs of a frozen trunk for its pooled vectors float16 (N, V) of all views."""
    parts = [F.normalize(whitening(part.float()), dim=1).half() for part in vectors.split(2000)]
    return NetworkOutput(torch.cat(parts), [], [])


def _train_apformer(
    plan: _Plan, data: TrainingData, maps: np.ndarray, guides: list[Teacher]
) -> APFormer:
    """Metric learning on the trunk's maps, guided by finished teachers."""
    teacher, schedule = plan.teacher, plan.teacher.schedule
    torch.manual_seed(schedule.seed)
    network = APFormer(*maps.shape[1:3], teacher.apformer)
    example = torch.zeros(1, *maps.shape[1:])
    parameters, macs = count(network, example)
    if is_first():
        print(f'{teacher.name}: {parameters:.2f} M parameters, {macs:.3f} GMAC above its trunk')
    targets = [guide.outputs for guide in guides]
    objective = objective_for(teacher.lesson, network, example, targets)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    run = Run(
        network.to(device), objective.to(device), schedule, plan.folder, settings=plan.settings
    )
    network = train(run, TrunkMaps(data, maps, guides), data.batches(schedule), workers=0).cpu()
    write_results(plan.folder, schedule, parameters, macs)
    return network


@torch.no_grad()
def _apformer_outputs(
    network: APFormer, maps: np.ndarray, whole: list[int], dimensions: int
) -> NetworkOutput:
    """The outputs of a trained APFormer for the trunk's maps float16 (N, c, h, w) of all views.

    Its last layer is fitted to the rows `whole` first, as a student's is.
    """
    network.eval()
    parts = [
        network.describe(torch.from_numpy(part).float())
        for part in np.array_split(maps, max(1, len(maps) // 64))
    ]
    levels = range(len(parts[0].sums))
    sums = [torch.cat([p.sums[i] for p in parts]) for i in levels]
    salient = [torch.cat([p.maps[i] for p in parts]).half() for i in levels]
    together = torch.cat(sums, dim=1)
    network.project = _fitted(together[whole], dimensions)
    descriptors = F.normalize(network.project(together), dim=1).half()
    return NetworkOutput(descriptors, [s.half() for s in sums], salient)


def _fitted(vectors: torch.Tensor, dimensions: int) -> nn.Linear:
    """Whitening to `dimensions`, or to as many as few or small vectors allow."""
    return whitening_layer(vectors, min(dimensions, vectors.shape[1], len(vectors) - 1))
