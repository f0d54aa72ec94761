# SPDX-License-Identifier: Apache-2.0
"""Train the teachers, then the student: ASHT-KD as method.md describes it.

    python -m tools.train --config config/train/student.yaml

Views of the pictures and what trunks and teachers say of them are made once and kept. What is
finished is not done again; what was interrupted goes on from its checkpoint. Several processes:
torchrun --nproc-per-node 2 -m tools.train --config ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ashtkd_ros.commands import run_command
from tools.config import TrainConfig, as_plain, read_config
from tools.layers import count
from tools.lectures import FixedViews, FreshViews, Lectures
from tools.loop import Run, first_alone, is_first, join_processes, start_folder, train
from tools.places import read_places, summary
from tools.student import DSFormer
from tools.teachers import live_teachers, objective_for, teachers_of
from tools.views import Views
from tools.whitening import fit_projection, sums_of_whole

# Pictures that the last layer is fitted to at the start of a training.
_FITTED_ON = 1500


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


def new_student(config: TrainConfig, lectures: Lectures) -> DSFormer:
    """The student at its start, its last layer fitted to it."""
    torch.manual_seed(config.schedule.seed)
    network = DSFormer(config.student)
    if config.start is not None and config.start.suffix == '.onnx':
        network.load_exported(config.start)
    elif config.start is not None:
        network.load_mobilenetv2(config.start)
    fit_projection(network, lectures.views, _FITTED_ON)
    return network


def _pretrained(network: DSFormer, start: Path | None) -> list[torch.nn.Parameter]:
    if start is None:
        return []
    if start.suffix == '.onnx':
        return list(network.parameters())
    return [*network.stem.parameters(), *network.levels[0].parameters()]


def train_student(
    config: TrainConfig,
    lectures: Lectures,
    folder: Path | None = None,
    network: DSFormer | None = None,
) -> DSFormer:
    """The student, taught by all that its lesson names; its folder is `out`/student.

    `network`: where it starts; by default `new_student`. Its last layer is not trained: the
    teaching shapes what the levels see, and the layer is fitted to that in the end.
    """
    taught = teachers_of(config, config.lesson, lectures)
    schedule, folder = config.schedule, folder or config.out / 'student'
    start_folder(folder, as_plain(config))
    network = network or new_student(config, lectures)
    network.freeze(schedule.frozen)
    network.project.requires_grad_(False)
    size = config.student.image_size
    torch.manual_seed(schedule.seed)
    objective = objective_for(config.lesson, network, torch.zeros(1, 3, size, size), taught)
    if config.lesson.descriptor and not (folder / 'checkpoint.pt').exists():
        rows, sums = sums_of_whole(network, lectures.views, _FITTED_ON)
        objective.fit_guidance(sums, [t.rows(rows) for t in taught])
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    network.to(device, memory_format=torch.channels_last)
    old = _pretrained(network, config.start)
    run = Run(network, objective.to(device), schedule, folder, old)
    if config.fresh_views:
        live = live_teachers(config, config.lesson, lectures)
        data = FreshViews(lectures.views, schedule, size, live)
    else:
        data = FixedViews(lectures.views, schedule, size, taught)
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
