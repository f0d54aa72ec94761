# SPDX-License-Identifier: Apache-2.0
"""The teachers of a config: made or trained once, then known by what they say of every view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ashtkd_ros.errors import VprError
from tools.training.config import Lesson, TeacherConfig, TrainConfig, as_plain
from tools.training.data.views import load_arrays, reduced, save_arrays
from tools.training.lectures import Lectures, TrunkMaps
from tools.training.loop import (
    Run,
    check_settings,
    first_line,
    start_folder,
    train,
    write_results,
    write_torch,
)
from tools.training.losses.objective import Objective
from tools.training.networks.apformer import APFormer
from tools.training.networks.layers import Described, count
from tools.training.networks.trunk import FrozenTrunk
from tools.training.processes import first_alone, is_first, wait_for_all
from tools.training.whitening import whitening_layer


def teachers_of(config: TrainConfig, lesson: Lesson, lectures: Lectures) -> list[Described]:
    """What the teachers of a lesson say of every view, in its order; those that are not yet
    trained are. Descriptors of length 1, everything float16."""
    by_name = {t.name: t for t in config.teachers}
    return [_learn(config, by_name[name], lectures) for name in lesson.teachers]


def folder_of(config: TrainConfig, name: str) -> Path:
    """Where a teacher's files are."""
    return config.out / 'teachers' / name


def settings_of(config: TrainConfig, teacher: TeacherConfig) -> dict:
    """What a teacher is made of, as YAML takes it."""
    return {'teacher': as_plain(teacher), 'data': as_plain(config)['sources']}


def objective_for(
    lesson: Lesson, network: nn.Module, example: torch.Tensor, teachers: list[Described]
) -> Objective:
    """The loss for a network of `describe` and `project`; `example`: an input of it."""
    with torch.no_grad():
        sums = [s.shape[1] for s in network.eval().describe(example).sums]
    said = [(t.descriptor.shape[1], [s.shape[1] for s in t.sums]) for t in teachers]
    return Objective(lesson, network.project.out_features, sums, said)


def _learn(config: TrainConfig, teacher: TeacherConfig, lectures: Lectures) -> Described:
    """What a teacher says of every view; it is trained first where it is an APFormer."""
    folder, settings = folder_of(config, teacher.name), settings_of(config, teacher)
    file = folder / 'taught.npz'
    missing = not file.exists()
    wait_for_all()
    if missing:
        start_folder(folder, settings)
        with first_alone():
            seen = lectures.views.seen_by(teacher.trunk)
        whole = lectures.views.whole()
        if teacher.apformer is None:
            taught, network = _whitened(torch.from_numpy(seen.pooled), teacher, whole)
        elif seen.maps is None:
            raise VprError(f'{teacher.trunk}: has no output "map"; an APFormer needs one')
        else:
            network = train_apformer(config, teacher, lectures, seen.maps)
            taught = listen(network, seen.maps, whole, teacher.dimensions)
        if is_first():
            write_torch(folder / 'teacher.pt', network.state_dict())
            arrays = {'descriptors': taught.descriptor.numpy()}
            for name in ('sums', 'maps'):
                arrays |= {f'{name}{i}': x.numpy() for i, x in enumerate(getattr(taught, name))}
            save_arrays(file, **arrays)
        wait_for_all()
    elif is_first():
        _check(config, teacher)
    arrays = {name: torch.from_numpy(x) for name, x in load_arrays(file).items()}
    if len(arrays['descriptors']) != len(lectures.views.jpegs):
        raise VprError(f'{file}: made of other views; remove it, it is made again')
    levels = range(sum(name.startswith('sums') for name in arrays))
    sums, maps = ([arrays[f'{kind}{i}'] for i in levels] for kind in ('sums', 'maps'))
    return Described(arrays['descriptors'], sums, maps)


def _check(config: TrainConfig, teacher: TeacherConfig) -> None:
    """VprError where a trained teacher, or one that it learned from, was of other settings."""
    check_settings(folder_of(config, teacher.name), settings_of(config, teacher))
    if teacher.apformer is not None:
        for other in config.teachers:
            if other.name in teacher.lesson.teachers:
                _check(config, other)


@torch.no_grad()
def _whitened(
    vectors: torch.Tensor, teacher: TeacherConfig, whole: list[int]
) -> tuple[Described, nn.Linear]:
    """A frozen trunk says its vector, whitened on the rows `whole`."""
    layer = _fitted(vectors[whole], teacher.dimensions)
    parts = [F.normalize(layer(part.float()), dim=1).half() for part in vectors.split(2000)]
    return Described(torch.cat(parts), [], []), layer


def train_apformer(
    config: TrainConfig, teacher: TeacherConfig, lectures: Lectures, maps: np.ndarray
) -> APFormer:
    """Metric learning on the trunk's maps, guided by the teachers that its lesson names."""
    taught = teachers_of(config, teacher.lesson, lectures)
    torch.manual_seed(teacher.schedule.seed)
    network, example = (
        APFormer(*maps.shape[1:3], teacher.apformer),
        torch.zeros(1, *maps.shape[1:]),
    )
    parameters, macs = count(network, example)
    if is_first():
        print(f'{teacher.name}: {parameters:.2f} M parameters, {macs:.3f} GMAC above its trunk')
    objective = objective_for(teacher.lesson, network, example, taught)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    schedule, folder = teacher.schedule, folder_of(config, teacher.name)
    settings = settings_of(config, teacher)
    run = Run(network.to(device), objective.to(device), schedule, folder, settings=settings)
    network = train(run, TrunkMaps(maps, taught), lectures.batches(schedule), workers=0).cpu()
    write_results(folder, schedule, parameters, macs)
    return network


@torch.no_grad()
def listen(network: APFormer, maps: np.ndarray, whole: list[int], dimensions: int) -> Described:
    """What a trained teacher says of every view, float16.

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
    return Described(descriptors, [s.half() for s in sums], salient)


def _fitted(vectors: torch.Tensor, dimensions: int) -> nn.Linear:
    """Whitening to `dimensions`, or to as many as few or small vectors allow."""
    return whitening_layer(vectors, min(dimensions, vectors.shape[1], len(vectors) - 1))


def load_teacher(config: TrainConfig, teacher: TeacherConfig) -> nn.Module:
    """A trained teacher in eval mode, for `say`: an APFormer, or a frozen trunk's whitening."""
    file = folder_of(config, teacher.name) / 'teacher.pt'
    try:
        state = torch.load(file, weights_only=True, map_location='cpu')
    except Exception as error:  # torch's loader raises many kinds
        raise VprError(f'{file}: cannot be read ({first_line(error)})') from error
    if teacher.apformer is None:
        network = nn.Linear(*reversed(state['weight'].shape))
    else:
        channels, positions = state['down.merge.weight'].shape[1], state['down.position'].shape[1]
        network = APFormer(channels, round(positions**0.5), teacher.apformer)
        network.project = nn.Linear(*reversed(state['project.weight'].shape))
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def say(network: nn.Module, maps: torch.Tensor | None, vectors: torch.Tensor) -> Described:
    """What a loaded teacher says of what its trunk sees, descriptors of length 1.

    `maps` (B, c, h, w), reduced; `vectors` (B, V).
    """
    if isinstance(network, nn.Linear):
        return Described(F.normalize(network(vectors), dim=1), [], [])
    said = network.describe(maps)
    return said._replace(descriptor=F.normalize(said.descriptor, dim=1))


class LiveTeacher:
    """A teacher that speaks of any view: images float32 (B, 3, S, S) → Described, float32.

    Teachers on one trunk share `seen`: the trunk looks at a batch once.
    """

    def __init__(
        self, config: TrainConfig, teacher: TeacherConfig, lectures: Lectures, seen: dict
    ):
        self._trunk, self._seen = teacher.trunk, seen
        self._axes = lectures.views.folder_of(teacher.trunk) / 'axes.npy'
        if teacher.trunk not in seen:
            seen[teacher.trunk] = _Memory(FrozenTrunk(teacher.trunk))
        self._network = load_teacher(config, teacher)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Described:
        seen, vectors = self._seen[self._trunk](images)
        maps = None if seen is None else reduced(seen, self._axes)
        return say(self._network.to(vectors.device), maps, vectors)


class _Memory:
    """A function of the last batch, remembered."""

    def __init__(self, trunk: FrozenTrunk):
        self._trunk, self._last, self._said = trunk, None, None

    def __call__(self, images: torch.Tensor):
        if images is not self._last:
            self._last, self._said = images, self._trunk.look(images)
        return self._said


def live_teachers(
    config: TrainConfig, lesson: Lesson, lectures: Lectures
) -> list[Callable[[torch.Tensor], Described]]:
    """The trained teachers of a lesson as functions of images."""
    by_name, seen = {t.name: t for t in config.teachers}, {}
    return [LiveTeacher(config, by_name[name], lectures, seen) for name in lesson.teachers]
