# SPDX-License-Identifier: Apache-2.0
"""Train the teachers, then the student: ASHT-KD as method.md describes it.

    python -m tools.train --config config/train/student.yaml

Views of the pictures and what trunks and teachers say of them are made once and kept. What is
finished is not done again; what was interrupted goes on from its checkpoint. Several processes:
torchrun --nproc-per-node 2 -m tools.train --config ...
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from ashtkd_ros.commands import run_command
from ashtkd_ros.errors import VprError
from tools.apformer import APFormer
from tools.augment import degrade
from tools.config import Lesson, Schedule, TeacherConfig, TrainConfig, as_plain, read_config
from tools.layers import count
from tools.loop import (
    Run,
    first_alone,
    is_first,
    join_processes,
    start_folder,
    train,
    wait_for_all,
)
from tools.objective import Objective, Taught
from tools.places import PlaceBatches, TrainingPlaces, read_places, summary
from tools.student import DSFormer
from tools.teacher import Whitening
from tools.views import Views, load_arrays, save_arrays

Entry = tuple[int, int, int, int, bool]  # step, number in the batch, row, place, is a query


@dataclass(frozen=True)
class Lectures:
    """Places and their views; what every teacher of a config says of them is made on demand."""

    places: TrainingPlaces
    views: Views
    views_of_picture: int

    def batches(self, schedule: Schedule) -> list[list[Entry]]:
        """Every step's entries; the first half of a place's views is the database branch's."""
        draw = PlaceBatches(
            self.places,
            schedule.places,
            schedule.views,
            schedule.seed,
            domains=set(schedule.domains) or None,
            views_of_picture=self.views_of_picture,
        )
        return [self._entries(step, draw, schedule.views) for step in range(schedule.steps)]

    def _entries(self, step: int, draw: PlaceBatches, views: int) -> list[Entry]:
        entries = []
        for k, (picture, view, anchor) in enumerate(draw.batch(step)):
            row = self.views.rows[str(self.places.pictures[picture].path), view]
            entries.append((step, k, row, anchor, k % views >= views // 2))
        return entries


class _Labelled(Dataset):
    @staticmethod
    def labels(batch: list[Entry]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """rows, places int64 (B,) and query bool (B,) of a batch."""
        _, _, rows, places, query = zip(*batch, strict=True)
        return torch.tensor(rows), torch.tensor(places), torch.tensor(query)


class DegradedImages(_Labelled):
    """Entry → float32 (3, S, S) RGB in [0, 1], degraded afresh by (seed, step, number)."""

    def __init__(self, views: Views, schedule: Schedule, size: int):
        self.views, self.schedule, self.size = views, schedule, size

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        step, k, row, _, query = entry
        cv2.setNumThreads(0)
        image = np.ascontiguousarray(self.views.image(row))
        if image.shape[0] != self.size:
            image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        rng = np.random.default_rng((self.schedule.seed, step, k))
        clean = self.schedule.clean_query if query else self.schedule.clean_database
        if rng.random() >= clean:
            image = degrade(image, rng)
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


class TrunkMaps(_Labelled):
    """Entry → the trunk's map of the clean view, float32 (c, h, w)."""

    def __init__(self, maps: np.ndarray):
        self.maps = maps

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        return torch.from_numpy(self.maps[entry[2]]).float()


def prepare(config: TrainConfig) -> Lectures:
    """Read the places and make their views."""
    places = read_places(list(config.sources), Path())
    with first_alone():
        views = Views(config.views_folder)
        views.add([p.path for p in places.pictures], config.views_of_picture)
    lost = len(places.skipped) + len(views.bad)
    if lost:
        names = [str(p) for p in places.skipped] + sorted(views.bad)
        print(f'{lost} pictures left out, missing or unreadable: {", ".join(names[:3])} ...')
    places = places.without(views.bad)
    if is_first():
        print(summary(places))
    return Lectures(places, views, config.views_of_picture)


def learn(config: TrainConfig, teacher: TeacherConfig, lectures: Lectures) -> Taught:
    """What a teacher says of every view; it is trained first where it is an APFormer."""
    folder = config.out / 'teachers' / teacher.name
    file = folder / 'taught.npz'
    missing = not file.exists()
    wait_for_all()
    if missing:
        start_folder(folder, {'teacher': as_plain(teacher), 'data': as_plain(config)['sources']})
        with first_alone():
            seen = lectures.views.seen_by(teacher.trunk)
        if teacher.apformer is None:
            taught = _whitened(seen.pooled, lectures.views)
        else:
            network = train_apformer(config, teacher, lectures, seen.maps)
            taught = listen(network, seen.maps)
        arrays = {'descriptors': taught.descriptors.numpy()}
        for name in ('sums', 'maps'):
            arrays |= {f'{name}{i}': x.numpy() for i, x in enumerate(getattr(taught, name))}
        if is_first():
            save_arrays(file, **arrays)
        wait_for_all()
    arrays = {name: torch.from_numpy(x) for name, x in load_arrays(file).items()}
    if len(arrays['descriptors']) != len(lectures.views.jpegs):
        raise VprError(f'{file}: made of other views; remove it, it is made again')
    levels = range(sum(name.startswith('sums') for name in arrays))
    sums, maps = ([arrays[f'{kind}{i}'] for i in levels] for kind in ('sums', 'maps'))
    return Taught(arrays['descriptors'], sums, maps)


def _whitened(pooled: np.ndarray, views: Views, dimensions: int = 256) -> Taught:
    whole = [row for (_, view), row in views.rows.items() if view == 0]
    vectors = torch.from_numpy(pooled)
    whitening = Whitening(vectors[whole], min(dimensions, len(whole) - 1))
    parts = [whitening(part).half() for part in vectors.split(2000)]
    return Taught(torch.cat(parts), [], [])


def train_apformer(
    config: TrainConfig, teacher: TeacherConfig, lectures: Lectures, maps: np.ndarray
) -> APFormer:
    """Metric learning on the trunk's maps, guided by the teachers that its lesson names."""
    taught = teachers_of(config, teacher.lesson, lectures)
    torch.manual_seed(teacher.schedule.seed)
    network = APFormer(maps.shape[1], maps.shape[2], teacher.apformer)
    objective = _objective(teacher.lesson, network, torch.from_numpy(maps[:1]).float(), taught)
    run = Run(network, objective, teacher.schedule, config.out / 'teachers' / teacher.name)
    return train(run, TrunkMaps(maps), lectures.batches(teacher.schedule), workers=0)


@torch.no_grad()
def listen(network: APFormer, maps: np.ndarray) -> Taught:
    """What a trained teacher says of every view, float16."""
    network.eval()
    parts = [
        network.describe(torch.from_numpy(part).float())
        for part in np.array_split(maps, max(1, len(maps) // 64))
    ]
    descriptors = torch.cat([F.normalize(p.descriptor, dim=1) for p in parts]).half()
    levels = range(len(parts[0].sums))
    sums = [torch.cat([p.sums[i] for p in parts]).half() for i in levels]
    salient = [torch.cat([p.maps[i] for p in parts]).half() for i in levels]
    return Taught(descriptors, sums, salient)


def teachers_of(config: TrainConfig, lesson: Lesson, lectures: Lectures) -> list[Taught]:
    """What the teachers of a lesson say, in its order; those not yet trained are."""
    by_name = {t.name: t for t in config.teachers}
    return [learn(config, by_name[name], lectures) for name in lesson.teachers]


def _objective(
    lesson: Lesson, network: APFormer | DSFormer, example: torch.Tensor, taught: list[Taught]
) -> Objective:
    with torch.no_grad():
        sums = network.eval().describe(example).sums
    return Objective(lesson, network.config.dimensions, [s.shape[1] for s in sums], taught)


def new_student(config: TrainConfig) -> tuple[DSFormer, list[torch.nn.Parameter]]:
    """The student at its start, and those of its parameters that start pretrained."""
    network = DSFormer(config.student)
    network.freeze(config.schedule.frozen)
    if config.start is None:
        return network, []
    if config.start.suffix == '.onnx':
        network.load_exported(config.start)
        return network, list(network.parameters())
    network.load_mobilenetv2(config.start)
    return network, [*network.stem.parameters(), *network.levels[0].parameters()]


def train_student(config: TrainConfig, lectures: Lectures, folder: Path | None = None) -> DSFormer:
    """The student, taught by all that its lesson names; its folder is `out`/student."""
    taught = teachers_of(config, config.lesson, lectures)
    schedule, folder = config.schedule, folder or config.out / 'student'
    start_folder(folder, as_plain(config))
    torch.manual_seed(schedule.seed)
    network, old = new_student(config)
    size = config.student.image_size
    objective = _objective(config.lesson, network, torch.zeros(1, 3, size, size), taught)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    network.to(device, memory_format=torch.channels_last)
    run = Run(network, objective.to(device), schedule, folder, old)
    data = DegradedImages(lectures.views, schedule, size)
    network = train(run, data, lectures.batches(schedule)).cpu()
    if objective.ranker is not None and is_first():
        torch.save(objective.ranker.cpu().state_dict(), folder / 'ranker.pt')
    return network


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', type=Path, required=True, help='config/train/*.yaml')
    args = parser.parse_args(argv)
    config = read_config(args.config)
    join_processes()
    network = train_student(config, prepare(config))
    size = config.student.image_size
    parameters, macs = count(network, torch.zeros(1, 3, size, size))
    if is_first():
        print(f'{config.out}/student: {parameters:.2f} M parameters, {macs:.3f} GMAC an image')
    return 0


if __name__ == '__main__':
    run_command(main)
