# SPDX-License-Identifier: Apache-2.0
"""The paper's Table II, row by row: which parts of the teaching help, and how sure that is.

    python -m tools.training.studies.ablation \\
        --config config/train/ablation.yaml --data ../shared/data/val

A small student is trained for each row and seed. The rows of a seed share their initial network
and the pictures in the same order; all end with the same closing fit. They are measured by the
descriptor alone and verified, on validation sets, rendered walks and places that are held back
from training, and compared query by query. What is finished with the same settings is not done
again, so the work can be stopped at any time and taken up by the same command. First, before the
rows: the learning rates, chosen on the student alone, by factors of those in the settings.

    python -m tools.training.studies.ablation --rates 0.25 0.5 1 2 4 \\
        --config config/train/ablation.yaml --data ../shared/data/val

The report of stored results, without any training:

    python -m tools.training.studies.ablation --stored runs/ablation/ablation/report.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ashtkd_ros.cli.arguments import count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import check_output, write_errors, write_text
from ashtkd_ros.network.embedder import Embedder
from tools.training.config import TEACHER_LOSSES, Schedule, TrainConfig, as_plain, read_config
from tools.training.data.datasets import TrainingData
from tools.training.data.held_back import held_back_folders
from tools.training.export import metadata_of, write_onnx
from tools.training.finished_teacher import Teacher
from tools.training.networks.student import DSFormer
from tools.training.run_folder import check_settings, revision, start_folder
from tools.training.run_results import Curve
from tools.training.studies.ablation_report import (
    ALONE,
    BOTH,
    EQUAL,
    FULL,
    HARD,
    MATCHED,
    SINGLE,
    SOFT,
    UNTRAINED,
    check_report,
    mean_recall,
    read_results,
    report_of,
    write_report,
)
from tools.training.studies.ablation_results import Results
from tools.training.studies.evaluate_sets import validation_sets
from tools.training.studies.query_sets import AskedPlaces
from tools.training.studies.student_sets import DESCRIPTOR, VERIFIED
from tools.training.studies.teacher_network import TeacherNetwork
from tools.training.teachers import make_teachers
from tools.training.train import new_student, prepare, train_student
from tools.training.whitening import finish

FITTED_ON = 3200  # pictures that the layers of each student are fitted to in the end
_RATES_SEED = 1000  # no seed of a row: rates are not chosen by what the table is made of
# On two cores, for a forecast before anything is measured: images of 112 pixels, and all queries.
_IMAGES_PER_S, _QUERIES_S = 100, 60


def rows(config: TrainConfig) -> dict[str, dict]:
    """The name of each row, and what it changes in `config.lesson`, which is the full method."""
    names, full = config.lesson.teachers, config.lesson
    if len(names) < 4:
        raise VprError('the ablation needs four teachers in lesson.teachers, the best three first')
    off = {**dict.fromkeys(TEACHER_LOSSES, 0.0), 'match': 0.0, 'vote': 0.0}
    both = {**off, 'soft': full.soft, 'hard': full.hard}
    found = {
        ALONE: {**off, 'teachers': ()},
        MATCHED: {**off, 'match': full.match, 'teachers': ()},
        SOFT: {**both, 'hard': 0.0, 'teachers': names[:3]},
        HARD: {**both, 'soft': 0.0, 'teachers': names[:3]},
    }
    found |= {name: {**both, 'teachers': names[:n]} for n, name in BOTH.items()}
    return found | {
        FULL: {'teachers': names[:3]},
        EQUAL: {'teachers': names[:3], 'adaptive': 'mean'},
    }


def settings_of(config: TrainConfig, row: str, seed: int) -> TrainConfig:
    """The settings of one student."""
    schedule = replace(config.schedule, seed=seed)
    lesson = replace(config.lesson, **rows(config).get(row, {}))
    return replace(config, lesson=lesson, schedule=schedule)


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """All learning rates times a factor."""
    rates = [f.name for f in fields(schedule) if f.name.endswith('_rate')]
    return replace(schedule, **{name: factor * getattr(schedule, name) for name in rates})


@dataclass
class Study:
    """What all students of a study share."""

    config: TrainConfig
    places: AskedPlaces
    data: TrainingData
    teachers: dict[str, Teacher]
    _starts: dict[int, DSFormer] = field(default_factory=dict)

    @classmethod
    def prepared(cls, config: TrainConfig, places: AskedPlaces) -> Study:
        """Read the data and make the teachers, those of the lesson."""
        held_back = held_back_folders(config.sources, config.held_back)
        data = prepare(config)
        teachers = {t.name: t for t in make_teachers(config, data)}
        return cls(config, replace(places, held_back=held_back), data, teachers)

    def student(self, row: str, config: TrainConfig, folder: Path) -> Results:
        """Train, finish, export and measure one student, unless it is there already."""
        stored = stored_results(folder, config)
        if stored is not None:
            return stored
        check_output(folder / 'results.json')  # a fault of the disk is told before the work
        network = self._start(config)
        if row != UNTRAINED:
            taught_by = [self.teachers[name] for name in config.lesson.teachers]
            drawn_by = list(self.teachers.values())  # the same batches in every row
            network = train_student(config, self.data, taught_by, folder, network, drawn_by)
        else:
            start_folder(folder, as_plain(config))
        seconds = Curve(folder / 'curve.csv', config.schedule.steps).seconds
        finish(network, self.data.views, FITTED_ON)
        model = folder / 'student.onnx'
        write_onnx(network, model, metadata_of(network, folder.name))
        results = self._measure(row, Embedder(model, num_threads=1), folder, seconds)
        (folder / 'checkpoint.pt').unlink(missing_ok=True)  # a hundred megabytes a student
        return results

    def teacher(self, row: str, name: str, folder: Path) -> Results:
        """Measure one teacher alone, unless that is done."""
        stored = stored_results(folder, self.config)
        if stored is None:
            check_output(folder / 'results.json')
            start_folder(folder, as_plain(self.config))
            stored = self._measure(row, TeacherNetwork(self.teachers[name]), folder)
        return stored

    def _start(self, config: TrainConfig) -> DSFormer:
        """A copy of the initial network of a seed, its new layers drawn by the seed."""
        seed = config.schedule.seed
        if seed not in self._starts:
            self._starts = {seed: new_student(config, self.data)}
        return deepcopy(self._starts[seed])

    def _measure(
        self, row: str, network: Embedder | TeacherNetwork, folder: Path, seconds: float = 0.0
    ) -> Results:
        started = time.monotonic()
        asked = self.places.ask(network)
        seconds += time.monotonic() - started
        results = Results.of(row, asked, revision(), seconds)
        with write_errors(folder / 'results.json'):
            write_text(folder / 'results.json', results.to_json())
        return results


def stored_results(folder: Path, config: TrainConfig) -> Results | None:
    """What results.json holds, None without it; VprError where it is of other settings."""
    file = folder / 'results.json'
    if not file.exists():
        return None
    if not (folder / 'config.yaml').exists():
        raise VprError(
            f'{folder}: holds results of unknown settings; remove it; it will be made again'
        )
    check_settings(folder, as_plain(config))
    try:
        return read_results(file)
    except VprError as error:
        raise VprError(f'{file}: is damaged; remove it; it will be made again') from error


def ablation(
    config: TrainConfig, places: AskedPlaces, seeds: int, only: Sequence[str] = ()
) -> str:
    """Everything, or `only` some rows; the report, which is also written to `out`/ablation."""
    out, results = config.out / 'ablation', Results()
    check_report(out)
    known = (UNTRAINED, *rows(config))
    if unknown := [row for row in only if row not in known]:
        raise VprError(f'--rows: "{unknown[0]}" is not one of {", ".join(known)}')
    jobs = [(row, seed) for seed in range(seeds) for row in only or known]
    study = Study.prepared(config, places)
    for name in config.lesson.teachers:
        kind = SINGLE if name == config.lesson.teachers[0] else 'teacher alone'
        results.extend(study.teacher(f'{kind}: {name}', name, out / f'teacher_{name}'))
    folders = [out / f'{_file_name(row)}_{seed}' for row, seed in jobs]
    left = [job for job, folder in zip(jobs, folders, strict=True) if not _is_done(folder)]
    for (row, seed), folder in zip(jobs, folders, strict=True):
        is_new = (row, seed) in left
        if is_new:
            print(f'{row}, seed {seed}; {forecast(left, results, config.schedule)}', flush=True)
            left.remove((row, seed))
        results.extend(study.student(row, settings_of(config, row, seed), folder))
        if is_new:
            write_report(results, out)
    return write_report(results, out)


def _file_name(row: str) -> str:
    return row.replace(' ', '_').replace(',', '')


def _is_done(folder: Path) -> bool:
    return (folder / 'results.json').exists()


def forecast(left: Sequence[tuple[str, int]], results: Results, schedule: Schedule) -> str:
    """How many students are left and how long they take, by what those before them took."""
    took = {name: row.seconds for name, row in results.rows.items() if ':' not in name}
    trained = [s for name, seconds in took.items() if name != UNTRAINED for s in seconds]
    samples = schedule.steps * schedule.places * schedule.views
    usual = sum(trained) / len(trained) if trained else samples / _IMAGES_PER_S + _QUERIES_S
    hours = sum(sum(took[r]) / len(took[r]) if r in took else usual for r, _ in left) / 3600
    return f'{len(left)} students to go, about {hours:.1f} h'


def rates(config: TrainConfig, places: AskedPlaces, factors: Sequence[float]) -> str:
    """A table of the student alone with all learning rates times each factor, also in `out`/rates.

    By a seed of its own. The queries are those of the table, so the student alone profits, if
    anything.
    """
    out = config.out / 'rates'
    table = out / 'rates.md'
    lines = ['| factor of the rates | verified | descriptor |', '|---|---|---|']
    check_output(table, lambda data: data.startswith(lines[0].encode()))
    study = Study.prepared(config, places)
    for factor in factors:
        one = settings_of(config, ALONE, _RATES_SEED)
        one = replace(one, schedule=scaled(one.schedule, factor))
        results = study.student(ALONE, one, out / f'{factor:g}')
        cells = [mean_recall(results, ALONE, measure) for measure in (VERIFIED, DESCRIPTOR)]
        lines.append(f'| {factor:g} | {" | ".join(cells)} |')
        print(lines[-1], flush=True)
    with write_errors(table, 'the table'):
        write_text(table, '\n'.join([*lines, '']))
    return '\n'.join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--config', type=Path, help='settings file, such as config/train/ablation.yaml'
    )
    parser.add_argument(
        '--data', type=Path, help='folder of validation sets, each with an index.csv'
    )
    parser.add_argument(
        '--walks',
        type=Path,
        default=Path('runs/walks'),
        help='folder to render walks of queries to, and to find them in (default: %(default)s)',
    )
    parser.add_argument(
        '--seeds',
        type=count,
        default=5,
        help='number of trainings per row, each with another seed (default: %(default)s)',
    )
    text = 'train these rows alone, by their names in the table (default: all)'
    parser.add_argument('--rows', nargs='+', default=(), metavar='ROW', help=text)
    parser.add_argument(
        '--rates',
        type=float,
        nargs='+',
        metavar='FACTOR',
        help='train the student alone with all learning rates times each factor, instead of the '
        'rows (default: the rows)',
    )
    parser.add_argument(
        '--stored',
        type=Path,
        help='report.json of an earlier run: print its report again, without any training',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    if args.stored:
        print(report_of(read_results(args.stored)))
        return 0
    if not args.config or not args.data:
        raise VprError(
            '--config and --data are missing; give both, or --stored for a report that is there'
        )
    if args.rates and not all(0 < factor <= 1000 for factor in args.rates):
        raise VprError('--rates: factors must be above 0 and at most 1000')
    config, places = read_config(args.config), AskedPlaces(validation_sets(args.data), args.walks)
    if args.rates:
        print(rates(config, places, args.rates))
    else:
        print(ablation(config, places, args.seeds, args.rows))
    return 0


if __name__ == '__main__':
    run_command(main)
