# SPDX-License-Identifier: Apache-2.0
"""Train the teachers, then the student: ASHT-KD as doc/method.md describes it.

    python -m tools.training.train --config config/train/student.yaml

Views of the pictures, the features of frozen trunks and the outputs of teachers are made once and
kept. What is finished is not done again. A run that was interrupted goes on from its checkpoint,
as long as the settings are the same. Several processes:
torchrun --nproc-per-node 2 -m tools.training.train --config ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import write_text
from tools.training.config import TrainConfig, as_plain, read_config
from tools.training.data.correspondence import Correspondence
from tools.training.data.datasets import StudentViews, TrainingData
from tools.training.data.held_back import without_held_back
from tools.training.data.places import TrainingPlaces, summary
from tools.training.data.scenes import known_scenes
from tools.training.data.sources import read_places
from tools.training.data.views import Views
from tools.training.drafts import clear_drafts
from tools.training.finished_teacher import Teacher
from tools.training.loop import Run, train
from tools.training.networks.layers import NetworkOutput, count
from tools.training.networks.student import DSFormer, StudentConfig
from tools.training.objective import Objective, objective_for
from tools.training.processes import first_alone, is_first, join_processes
from tools.training.run_folder import make_folder, start_folder
from tools.training.run_results import write_results
from tools.training.teachers import make_teachers
from tools.training.whitening import describe_pictures, some_of_whole, start_layers

# Pictures that layers and projections are fitted to at the start of a training.
_FITTED_ON = 1500


def train_all(config: TrainConfig) -> DSFormer:
    """The steps of the method, in order: data, teachers, student, loop; all files are in `out`."""
    data = prepare(config)
    teachers = make_teachers(config, data)
    return train_student(config, data, teachers, config.out / 'student')


def prepare(config: TrainConfig) -> TrainingData:
    """Read the places and make their views; pictures left out are in `out`/skipped.txt."""
    make_folder(config.out)
    if config.start is not None and not config.start.exists():
        raise VprError(
            f'start: no such file {config.start}; make it first, as the comment in the settings '
            'file says'
        )
    places = without_held_back(read_places(config.sources), config.sources, config.held_back)
    with first_alone():
        views = Views(config.views_folder)
        if is_first():
            for folder in (views.folder, *filter(Path.is_dir, views.folder.iterdir())):
                clear_drafts(folder)  # of views and, in folders of theirs, of trunks' features
        views.add([p.path for p in places.pictures], config.views_of_picture)
    if is_first():
        _name_skipped(places, views.unreadable, config.out / 'skipped.txt')
    places = places.without(views.unreadable)
    if not places.places:
        raise VprError(
            f'none of {len(places.pictures)} pictures can be read; replace them, or give other '
            f'`sources` ({config.out}/skipped.txt names them)'
        )
    _check_enough(len(places.pictures), config.student)
    if is_first():
        print(summary(places))
    with first_alone():
        scenes = _scenes(places, views.folder)
    return TrainingData(places, views, config.views_of_picture, scenes)


def _check_enough(pictures: int, student: StudentConfig) -> None:
    """VprError where the pictures are too few to whiten the student's descriptor by."""
    sizes = ['dimensions', *(('free_dimensions', 'combined') if student.local else ())]
    most = max(sizes, key=lambda name: getattr(student, name))
    if pictures <= getattr(student, most):
        raise VprError(
            f'{pictures} pictures cannot give {getattr(student, most)} whitened dimensions; take '
            f'more pictures, or fewer `{most}` of the student'
        )


def _scenes(places: TrainingPlaces, folder: Path) -> Correspondence:
    """What is known of matching points in the pictures of one place."""
    of = {still: [] for still in (True, False)}
    for place in places.places:
        if len(place.pictures) > 1:
            of[place.still].append([str(places.pictures[i].path) for i in place.pictures])
    return known_scenes(of[False], of[True], folder)


def _name_skipped(places: TrainingPlaces, unreadable: set[str], file: Path) -> None:
    """Write every picture that is left out, and why, to a file; print their number."""
    reasons = {str(path): 'missing' for path in places.skipped}
    damaged = (str(p.path) for p in places.pictures if str(p.path) in unreadable)
    reasons |= dict.fromkeys(damaged, 'not a readable image')
    file.unlink(missing_ok=True)
    if reasons:
        lines = [f'{path}: {reason}' for path, reason in reasons.items()]
        write_text(file, '\n'.join(lines) + '\n')
        print(f'{len(lines)} pictures left out ({file}): {"; ".join(lines[:3])}')


def new_student(config: TrainConfig, data: TrainingData) -> DSFormer:
    """The student at its start, the layers above its body in closed form."""
    torch.manual_seed(config.schedule.seed)
    student, has_local = DSFormer(config.student), False
    if config.start is not None and config.start.suffix == '.onnx':
        has_local = student.load_exported(config.start)
        if config.new_heads:
            student.restart_heads()
    elif config.start is not None:
        student.load_mobilenetv2(config.start)
    start_layers(student, data.views, _FITTED_ON, new_local=not has_local)
    return student


def _pretrained(student: DSFormer, start: Path | None) -> list[torch.nn.Parameter]:
    """The parameters that were trained before, and learn at `pretrained_rate`."""
    if start is None:
        return []
    if start.suffix == '.onnx':
        return list(student.parameters())
    return [*student.stem.parameters(), *student.levels[0].parameters()]


def train_student(
    config: TrainConfig,
    data: TrainingData,
    teachers: Sequence[Teacher],
    folder: Path,
    student: DSFormer | None = None,
    drawn_by: Sequence[Teacher] | None = None,
) -> DSFormer:
    """The student after its training by finished teachers, those of its lesson in this order.

    `student`: where it starts; by default `new_student`. `drawn_by`: the teachers that tell which
    places come in one batch, by default the same. The layers above its body are trained
    along; `whitening.finish` fits those of the descriptor again before it is used.
    """
    settings, schedule = as_plain(config), config.schedule
    start_folder(folder, settings)
    student = student or new_student(config, data)
    student.freeze(schedule.frozen)
    objective = _student_objective(config, data, teachers, student, folder)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    student.to(device, memory_format=torch.channels_last)
    pretrained = _pretrained(student, config.start)
    run = Run(student, objective.to(device), schedule, folder, pretrained, settings)
    views = StudentViews(data, schedule, config.student.image_size, teachers)
    near = data.descriptors(drawn_by or teachers) if schedule.group > 1 else None
    batches = data.batches(schedule, near)
    student = train(run, views, batches).cpu()
    return student


def _student_objective(
    config: TrainConfig,
    data: TrainingData,
    teachers: Sequence[Teacher],
    student: DSFormer,
    folder: Path,
) -> Objective:
    """The loss; its guidance is fitted to the student's start unless the run goes on."""
    torch.manual_seed(config.schedule.seed)
    size = config.student.image_size
    objective = objective_for(config.lesson, student, torch.zeros(1, 3, size, size), teachers)
    if (folder / 'checkpoint.pt').exists():
        return objective
    guidance, views = objective.guidance, data.views
    rows = some_of_whole(views, _FITTED_ON)
    jpegs = [views.jpegs[row] for row in rows]
    if config.lesson.descriptor:
        names = ('sums', 'residuals') if student.local else ('sums',)
        sums, *residuals = describe_pictures(student.eval(), jpegs, names)
        outputs = NetworkOutput(sums, [sums], [], residuals=residuals[0] if residuals else None)
        guidance.fit_vectors(outputs, [t.outputs(rows) for t in teachers])
    if config.lesson.maps:
        (stacked,) = describe_pictures(student.eval(), jpegs[::3], ('stacked',))
        guidance.fit_maps(stacked, [t.outputs(rows[::3]) for t in teachers])
    return objective


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--config',
        type=Path,
        required=True,
        help='settings file, such as config/train/student.yaml',
    )
    args = parser.parse_args(argv)
    config = read_config(args.config)
    join_processes()
    student = train_all(config)
    size = config.student.image_size
    parameters, macs = count(student, torch.zeros(1, 3, size, size))
    folder = config.out / 'student'
    write_results(folder, config.schedule, parameters, macs)
    if is_first():
        print(f'{folder}: {parameters:.2f} M parameters, {macs:.3f} GMAC an image')
    return 0


if __name__ == '__main__':
    run_command(main)
