# SPDX-License-Identifier: Apache-2.0
"""Train the teachers, then the student: ASHT-KD as method.md describes it.

    python -m tools.training.train --config config/train/student.yaml

Views of the pictures and what trunks and teachers say of them are made once and kept. What is
finished is not done again; what was interrupted goes on from its checkpoint, as long as the
settings are the same. Several processes:
torchrun --nproc-per-node 2 -m tools.training.train --config ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import write_text
from tools.training.config import TrainConfig, as_plain, read_config
from tools.training.data.places import TrainingPlaces, summary
from tools.training.data.sources import read_places
from tools.training.data.views import Views
from tools.training.lectures import FixedViews, FreshViews, Lectures
from tools.training.loop import (
    Run,
    make_folder,
    start_folder,
    train,
    write_results,
    write_torch,
)
from tools.training.networks.layers import count
from tools.training.networks.student import DSFormer
from tools.training.processes import first_alone, is_first, join_processes
from tools.training.teachers import live_teachers, objective_for, teachers_of
from tools.training.whitening import fit_projection, sums_of_whole

# Pictures that the last layer is fitted to at the start of a training.
_FITTED_ON = 1500


def prepare(config: TrainConfig) -> Lectures:
    """Read the places and make their views; pictures left out are in `out`/skipped.txt."""
    make_folder(config.out)
    if config.start is not None and not config.start.exists():
        raise VprError(f'start: {config.start} is not there; make it first, as its config says')
    places = read_places(config.sources)
    with first_alone():
        views = Views(config.views_folder)
        views.add([p.path for p in places.pictures], config.views_of_picture)
    if is_first():
        _name_skipped(places, views.bad, config.out / 'skipped.txt')
    places = places.without(views.bad)
    if not places.anchors:
        raise VprError(
            f'none of {len(places.pictures)} pictures can be read; replace them, or give other '
            f'`sources` ({config.out}/skipped.txt names them)'
        )
    if is_first():
        print(summary(places))
    return Lectures(places, views, config.views_of_picture)


def _name_skipped(places: TrainingPlaces, bad: set[str], file: Path) -> None:
    """Every picture that is left out and why, in a file; how many and the first ones, in print."""
    why = {str(path): 'missing' for path in places.skipped}
    unreadable = (str(p.path) for p in places.pictures if str(p.path) in bad)
    why |= dict.fromkeys(unreadable, 'not a readable image')
    file.unlink(missing_ok=True)
    if why:
        lines = [f'{path}: {reason}' for path, reason in why.items()]
        write_text(file, '\n'.join(lines) + '\n')
        print(f'{len(lines)} pictures left out ({file}): {"; ".join(lines[:3])}')


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
    settings = as_plain(config)
    start_folder(folder, settings)
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
    run = Run(network, objective.to(device), schedule, folder, old, settings)
    if config.fresh_views:
        live = live_teachers(config, config.lesson, lectures)
        data = FreshViews(lectures.views, schedule, size, live)
    else:
        data = FixedViews(lectures.views, schedule, size, taught)
    network = train(run, data, lectures.batches(schedule)).cpu()
    if config.fresh_views and data.lost:
        print(f'{data.lost} images are of pictures that have gone: their fixed views were shown')
    if objective.ranker is not None and is_first():
        write_torch(folder / 'ranker.pt', objective.ranker.cpu().state_dict())
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
    folder = config.out / 'student'
    write_results(folder, config.schedule, parameters, macs)
    if is_first():
        print(f'{folder}: {parameters:.2f} M parameters, {macs:.3f} GMAC an image')
    return 0


if __name__ == '__main__':
    run_command(main)
