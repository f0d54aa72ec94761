# SPDX-License-Identifier: Apache-2.0
"""The teachers of a config, made before the student: trained once, then kept with their outputs.

A teacher's folder, `out`/teachers/NAME, holds teacher.pt (weights), scale.npy and its outputs for
every fixed view: descriptors.npy, 2 KB a view, of an APFormer also its levels, about 13 KB. It
counts as finished when descriptors.npy is there. The maps of its trunk are kept with the views.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from tools.training.config import TeacherConfig, TrainConfig, as_plain
from tools.training.data.batch import Targets
from tools.training.data.datasets import TrainingData, TrunkMaps
from tools.training.data.rows import Rows, save_rows
from tools.training.data.views import Views
from tools.training.finished_teacher import KnownOutputs, Teacher, described
from tools.training.loop import Run, train
from tools.training.networks.apformer import LEVELS, APFormer
from tools.training.networks.layers import count
from tools.training.networks.shared_trunk import SIDE, SharedTrunk, TrunkOutput, has_grid
from tools.training.objective import objective_for
from tools.training.processes import first_alone, is_first, wait_for_all
from tools.training.run_folder import check_settings, first_line, start_folder, write_torch
from tools.training.run_results import write_results
from tools.training.trunk_features import (
    TrunkFeatures,
    map_of_one,
    trunk_features,
    whitening_file,
)
from tools.training.whitening import whitening_layer

_PAIRS = 8000  # of views of different pictures, by which a teacher's scale is measured
_PART = 500  # views at a time


def make_teachers(
    config: TrainConfig, data: TrainingData, names: Sequence[str] | None = None
) -> list[Teacher]:
    """The teachers of these names, by default those of the student's lesson, finished.

    Those that are not yet trained are; so are first those that teach them. VprError where a
    finished one is of other settings or of other views.
    """
    names = config.lesson.teachers if names is None else names
    by_name = {t.name: t for t in config.teachers}
    order = _teaching_order(config, names)
    wait_for_all()  # no process may find what another has just made
    with first_alone():
        _check_trunks([teacher for teacher, is_new in order if is_new], data.views)
    for teacher, is_new in order:
        plan = _Plan(config, teacher)
        if is_new:
            guides = teacher.lesson.teachers if teacher.apformer else ()
            _make(plan, data, _load_all(config, data, [by_name[name] for name in guides]))
        elif is_first():
            _check(config, teacher)
    return _load_all(config, data, [by_name[name] for name in names])


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
        self.scale_file = self.folder / 'scale.npy'
        self.outputs_file = self.folder / 'descriptors.npy'
        plain = as_plain(config)
        self.settings = {
            'teacher': as_plain(teacher),
            'data': plain['sources'],
            'held_back': plain['held_back'],
        }

    def level_file(self, kind: str, level: int) -> Path:
        """Of an APFormer the file of a level's `sums` or `salient` maps."""
        return self.folder / f'{kind}{level}.npy'


def _check(config: TrainConfig, teacher: TeacherConfig) -> None:
    """VprError where a finished teacher, or one that it learned from, was of other settings."""
    plan = _Plan(config, teacher)
    check_settings(plan.folder, plan.settings)
    if teacher.apformer is not None:
        for other in config.teachers:
            if other.name in teacher.lesson.teachers:
                _check(config, other)


def _check_trunks(teachers: Sequence[TeacherConfig], views: Views) -> None:
    """VprError where a trunk gives no map of the kind that its teacher needs: before any is made,
    which takes hours."""
    needy = [t for t in teachers if t.kind != 'whole']
    maps = {trunk: map_of_one(views, trunk) for trunk in {t.trunk for t in needy}}
    for teacher in needy:
        if teacher.apformer is not None and not has_grid(maps[teacher.trunk]):
            raise VprError(
                f'{teacher.trunk}: has no output "map" of {SIDE} x {SIDE} positions; an APFormer '
                'needs one'
            )
        if maps[teacher.trunk] is None:
            raise VprError(f'{teacher.trunk}: has no output "map"; use `pool: whole`')


def _make(plan: _Plan, data: TrainingData, guides: list[Teacher]) -> None:
    """Train an APFormer, or whiten a frozen trunk; write the weights and the outputs."""
    teacher = plan.teacher
    start_folder(plan.folder, plan.settings)
    with first_alone():
        features = trunk_features(data.views, teacher.trunk)
    whole = data.views.whole()
    if teacher.apformer is not None:
        network = _train_apformer(plan, data, features, guides)
        parts = (network.describe(x.maps).sums for x in _parts(features, whole, teacher.kind))
        with torch.no_grad():
            vectors = torch.cat([torch.cat(sums, dim=1) for sums in parts])
        network.project = _fitted(vectors, teacher.dimensions)
    else:
        parts = _parts(features, whole, teacher.kind)
        network = _fitted(torch.cat([x.pooled() for x in parts]), teacher.dimensions)
    if is_first():
        write_torch(plan.weights_file, network.state_dict())
        _write_outputs(plan, network.eval(), features, data)
    wait_for_all()


def _write_outputs(
    plan: _Plan, network: nn.Module, features: TrunkFeatures, data: TrainingData
) -> None:
    """The outputs for all views, the file that says that the teacher is finished last."""
    rows = range(len(features.whole))
    found = [_halved(network, x) for x in _parts(features, rows, plan.teacher.kind)]
    for kind in ('sums', 'salient'):
        for level in range(len(getattr(found[0], kind))):
            together = torch.cat([getattr(x, kind)[level] for x in found])
            save_rows(plan.level_file(kind, level), together.numpy())
    descriptors = torch.cat([x.descriptor for x in found])
    pictures = {path: i for i, (path, _) in enumerate(data.views.rows)}
    shown = torch.tensor([pictures[path] for path, _ in data.views.rows])
    save_rows(plan.scale_file, np.array(similarity_scale(descriptors, shown)))
    save_rows(plan.outputs_file, descriptors.numpy())


@torch.no_grad()
def _halved(network: nn.Module, features: TrunkOutput) -> Targets:
    """What a teacher says, float16, without its trunk's maps, which would fill the memory."""
    said = described(network, features)
    sums, salient = ([x.half() for x in levels] for levels in (said.sums, said.salient))
    return Targets(said.descriptor.half(), None, sums, salient)


def similarity_scale(descriptors: torch.Tensor, pictures: torch.Tensor) -> tuple[float, float]:
    """Mean and deviation of the similarities between views of different pictures.

    `descriptors`: (N, D), length 1; `pictures`: int64 (N,), which picture a row is a view of.
    Random pairs: hardly any of them show the same place.
    """
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randint(len(descriptors), (2, _PAIRS), generator=draw)
    apart = pictures[a] != pictures[b]
    similarity = (descriptors[a[apart]].float() * descriptors[b[apart]].float()).sum(dim=1)
    return float(similarity.mean()), max(float(similarity.std()), 1e-6)


@torch.no_grad()
def _parts(features: TrunkFeatures, rows: Sequence[int], kind: str) -> Iterable[TrunkOutput]:
    """What a teacher of this kind needs of a trunk's features of these rows, some at a time."""
    for start in range(0, len(rows), _PART):
        yield features.of(rows[start : start + _PART], kind)


def _load_all(
    config: TrainConfig, data: TrainingData, teachers: Sequence[TeacherConfig]
) -> list[Teacher]:
    """Finished teachers from their files.

    Those on one trunk share it. Its maps come with the first of them, so that none counts twice.
    """
    trunks: dict[Path, SharedTrunk] = {}
    found = []
    for teacher in teachers:
        maps = None
        if teacher.trunk not in trunks:
            with first_alone():
                maps = trunk_features(data.views, teacher.trunk).maps
            whitening = whitening_file(data.views, teacher.trunk)
            trunks[teacher.trunk] = SharedTrunk(teacher.trunk, whitening)
        found.append(_load(_Plan(config, teacher), data, trunks[teacher.trunk], maps))
    return found


def _load(plan: _Plan, data: TrainingData, trunk: SharedTrunk, maps: Rows | None) -> Teacher:
    """A finished teacher from its files."""
    descriptors = Rows([plan.outputs_file])
    if len(descriptors) != len(data.views.rows):
        raise VprError(
            f'{plan.outputs_file}: made of other views; remove it; it will be made again'
        )
    levels = range(LEVELS if plan.teacher.apformer else 0)
    sums, salient = (
        [Rows([plan.level_file(kind, i)]) for i in levels] for kind in ('sums', 'salient')
    )
    mean, deviation = Rows([plan.scale_file])[[0, 1]].tolist()
    known = KnownOutputs(descriptors, maps, sums, salient)
    network = _load_network(plan)
    return Teacher(plan.teacher.name, plan.teacher.kind, known, (mean, deviation), network, trunk)


def _load_network(plan: _Plan) -> nn.Module:
    """An APFormer, or the whitening of a frozen trunk's vector."""
    file = plan.weights_file
    try:
        with open(open_regular(file), 'rb') as stream:
            state = torch.load(stream, weights_only=True, map_location='cpu')
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


def _train_apformer(
    plan: _Plan, data: TrainingData, features: TrunkFeatures, guides: list[Teacher]
) -> APFormer:
    """Metric learning on the trunk's maps, guided by finished teachers."""
    teacher, schedule, maps = plan.teacher, plan.teacher.schedule, features.maps
    torch.manual_seed(schedule.seed)
    network = APFormer(*maps.shape[1:3], teacher.apformer)
    example = torch.zeros(1, *maps.shape[1:])
    parameters, macs = count(network, example)
    if is_first():
        print(f'{teacher.name}: {parameters:.2f} M parameters, {macs:.3f} GMAC above its trunk')
    objective = objective_for(teacher.lesson, network, example, guides)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    run = Run(
        network.to(device), objective.to(device), schedule, plan.folder, settings=plan.settings
    )
    network = train(run, TrunkMaps(data, maps, guides), data.batches(schedule), workers=0).cpu()
    write_results(plan.folder, schedule, parameters, macs)
    return network.eval()


def _fitted(vectors: torch.Tensor, dimensions: int) -> nn.Linear:
    """Whitening to `dimensions`, or to as many as few or small vectors allow."""
    return whitening_layer(vectors, min(dimensions, vectors.shape[1], len(vectors) - 1))
