# SPDX-License-Identifier: Apache-2.0
"""The paper's Table II on the validation sets: which parts of the teaching help, with spread.

    python -m tools.training.studies.ablation \\
        --config config/train/ablation.yaml --data ../shared/data/val

A small student is trained for each row and seed, on the same pictures in the same order. It is
whitened and exported as the shipped one is, and its Recall@1 is measured. What is finished with
the same settings is not done again. The report of stored results, without any training:

    python -m tools.training.studies.ablation --stored runs/asht/ablation/report.json
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

from ashtkd_ros.cli.arguments import count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.marks import PNG_METADATA, json_keys
from ashtkd_ros.files.writing import (
    check_output,
    whole_file,
    write_errors,
    write_text,
    write_together,
)
from ashtkd_ros.network.embedder import Embedder
from tools.training.config import TEACHER_LOSSES, TrainConfig, as_plain, read_config
from tools.training.data.views import Views
from tools.training.export import metadata_of, write_onnx
from tools.training.finished_teacher import Teacher
from tools.training.networks.student import DSFormer
from tools.training.outputs import check_picture_output, check_table_output
from tools.training.run_folder import check_settings, start_folder
from tools.training.studies.evaluate_sets import recalls, student_descriptors, validation_sets
from tools.training.studies.teachers import look
from tools.training.teachers import make_teachers
from tools.training.train import new_student, prepare, train_student
from tools.training.whitening import finish

# Pictures that the last layer of each student is fitted to.
FITTED_ON = 3200
_OFF = dict.fromkeys(TEACHER_LOSSES, 0.0)
FULL, ALONE = 'all steps, 3 teachers', 'student alone'
SINGLE = 'teacher "everywhere" alone'
# The paper's orderings (Table II): the first is better than the second.
CLAIMS = [
    ('soft + hard, 3 teachers', 'hard only, 3 teachers'),
    ('hard only, 3 teachers', 'soft only, 3 teachers'),
    ('soft only, 3 teachers', ALONE),
    ('soft + hard, 2 teachers', 'soft + hard, 1 teacher'),
    ('soft + hard, 3 teachers', 'soft + hard, 2 teachers'),
    ('soft + hard, 4 teachers', 'soft + hard, 3 teachers'),
    ('soft + hard, 3 teachers', 'soft + hard, 1 teacher'),
    ('soft + hard, 3 teachers', ALONE),
    ('soft + hard, 3 teachers', SINGLE),
    (FULL, 'without adaptive weights'),
    (FULL, 'without feature guidance'),
    (FULL, 'without the loss network'),
    (FULL, ALONE),
    ('without the loss network', ALONE),
]


def rows(config: TrainConfig) -> dict[str, dict]:
    """The name of each row, and what it changes in `config.lesson`, which is the full method."""
    names = config.lesson.teachers
    if len(names) < 4:
        raise VprError('the ablation needs four teachers in lesson.teachers, the best three first')
    full = config.lesson
    both = {**_OFF, 'soft': full.soft, 'hard': full.hard, 'ranking': 0.0}
    return {
        ALONE: {**_OFF, 'ranking': 0.0, 'teachers': ()},
        'soft only, 3 teachers': {**both, 'hard': 0.0, 'teachers': names[:3]},
        'hard only, 3 teachers': {**both, 'soft': 0.0, 'teachers': names[:3]},
        'soft + hard, 1 teacher': {**both, 'teachers': names[:1]},
        'soft + hard, 2 teachers': {**both, 'teachers': names[:2]},
        'soft + hard, 3 teachers': {**both, 'teachers': names[:3]},
        'soft + hard, 4 teachers': {**both, 'teachers': names[:4]},
        FULL: {'teachers': names[:3]},
        'without adaptive weights': {'teachers': names[:3], 'adaptive': 'mean'},
        'without feature guidance': {
            **dict.fromkeys(('descriptor', 'levels', 'salient'), 0.0),
            'teachers': names[:3],
        },
        'without the loss network': {'teachers': names[:3], 'ranking': 0.0},
    }


def measure(network: DSFormer, views: Views, folder: Path, sets: list[Path]) -> None:
    """Fit the last layer, export and measure one student; results.json in `folder`."""
    check_output(folder / 'results.json')  # a fault of the disk is told before the work
    finish(network, views, FITTED_ON)
    write_onnx(network, folder / 'student.onnx', metadata_of(network, folder.name))
    measured = recalls(student_descriptors(Embedder(folder / 'student.onnx')), sets)
    with write_errors(folder / 'results.json'):
        write_text(folder / 'results.json', json.dumps(measured, indent=2))


def teacher_recalls(teacher: Teacher, sets: list[Path]) -> dict[str, float]:
    """Recall@1 in % of one teacher alone on each set."""
    return recalls(lambda frames: look([teacher], frames)[0].descriptors.numpy(), sets)


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: mean ± standard deviation over the seeds, a column a set and their mean."""
    names = list(next(iter(results.values()))[0])
    lines = [f'| | {" | ".join(names)} | mean |', '|---|' + '---|' * (len(names) + 1)]
    for row, seeds in results.items():
        values = np.array([[s[n] for n in names] for s in seeds])
        values = np.column_stack([values, values.mean(axis=1)])
        cells = zip(values.mean(axis=0), values.std(axis=0, ddof=len(seeds) > 1), strict=True)
        lines.append(f'| {row} | ' + ' | '.join(f'{m:.1f} ± {s:.1f}' for m, s in cells) + ' |')
    return '\n'.join(lines)


def verdicts(results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Each of the paper's orderings on the mean of the sets: holds, fails, or within the spread.

    The spread is the larger standard deviation of the two rows over the seeds; a teacher, measured
    once, has none.
    """
    lines = []
    for better, worse in CLAIMS:
        if better not in results or worse not in results:
            continue
        a, b = (np.array([np.mean(list(s.values())) for s in results[r]]) for r in (better, worse))
        gap = a.mean() - b.mean()
        spread = max(x.std(ddof=len(x) > 1) for x in (a, b))
        word = 'within the spread' if abs(gap) <= spread else 'holds' if gap > 0 else 'FAILS'
        lines.append(f'{better} > {worse}: {word} ({gap:+.1f} points, spread {spread:.1f})')
    return lines


def picture(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Mean Recall@1 as bars and over the number of teachers, with the seeds' spread."""
    matplotlib.use('Agg')
    from matplotlib import pyplot

    values = {r: [np.mean(list(s.values())) for s in seeds] for r, seeds in results.items()}
    mean = {r: np.mean(v) for r, v in values.items()}
    spread = {r: np.std(v, ddof=len(v) > 1) for r, v in values.items()}
    size = (11, 0.3 * len(mean) + 1.2)
    figure, (bars, curve) = pyplot.subplots(
        1, 2, figsize=size, width_ratios=(2, 1), layout='constrained'
    )
    bars.barh(list(mean), list(mean.values()), xerr=list(spread.values()), color='#7aa6c2')
    bars.invert_yaxis()
    bars.set_xlim(max(0.0, min(map(min, values.values())) - 5), None)
    bars.set_xlabel('Recall@1, mean of the validation sets [%]')
    counts = {1: 'soft + hard, 1 teacher', **{n: f'soft + hard, {n} teachers' for n in (2, 3, 4)}}
    counts = {n: row for n, row in {0: ALONE, **counts}.items() if row in mean}
    heights, errors = ([of[row] for row in counts.values()] for of in (mean, spread))
    curve.errorbar(list(counts), heights, errors, marker='o', capsize=3, color='#2f6f8f')
    curve.set(xticks=list(counts), xlabel='teachers (soft + hard)', ylabel='Recall@1 [%]')
    with write_errors(path, 'the picture'), whole_file(path) as draft:
        figure.savefig(draft, dpi=90, metadata=PNG_METADATA)
    pyplot.close(figure)


def report_of(results: dict[str, list[dict[str, float]]]) -> str:
    """The table and the verdicts, Markdown."""
    return '\n'.join([table(results), '', *(f'- {line}' for line in verdicts(results)), ''])


def read_results(file: Path) -> dict[str, list[dict[str, float]]]:
    """The results in a stored report.json; VprError where the file is not one."""
    try:
        results = json.loads(file.read_text())
        report_of(results)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise VprError(f'{file}: not a report.json of tools.training.studies.ablation') from error
    return results


def stored_recalls(folder: Path, config: TrainConfig, sets: list[Path]) -> dict | None:
    """Recalls in results.json, None without it; VprError where they are of other settings."""
    file = folder / 'results.json'
    if not file.exists():
        return None
    if not (folder / 'config.yaml').exists():
        raise VprError(
            f'{folder}: holds results of unknown settings; remove it; it will be made again'
        )
    check_settings(folder, as_plain(config))
    try:
        measured = json.loads(file.read_text())
        if list(measured) == [s.name for s in sets]:
            return measured
    except (OSError, ValueError, TypeError) as error:
        raise VprError(f'{file}: is damaged; remove it; it will be made again') from error
    raise VprError(f'{file}: is of other validation sets; remove it; it will be made again')


def ablation(config: TrainConfig, validation: Path, seeds: int) -> str:
    """Everything; returns the report, which is also written to `out`/ablation."""
    sets, out = validation_sets(validation), config.out / 'ablation'
    check_report(out)
    data = prepare(config)
    teachers = {t.name: t for t in make_teachers(config, data, [t.name for t in config.teachers])}
    results = {
        f'teacher "{t.name}" alone': [teacher_recalls(teachers[t.name], sets)]
        for t in config.teachers
    }
    start = new_student(config, data)
    for row, seed in tqdm(_jobs(config, seeds), desc='ablation'):
        folder, changed = out / f'{row.replace(" ", "_").replace(",", "")}_{seed}', config
        if row in rows(config):
            changed = replace(config, lesson=replace(config.lesson, **rows(config)[row]))
            changed = replace(changed, schedule=replace(config.schedule, seed=seed))
        if stored_recalls(folder, changed, sets) is None:
            network = deepcopy(start)
            if row in rows(config):
                taught_by = [teachers[name] for name in changed.lesson.teachers]
                network = train_student(changed, data, taught_by, folder, network)
            else:
                start_folder(folder, as_plain(changed))
            measure(network, data.views, folder, sets)
        results.setdefault(row, []).append(stored_recalls(folder, changed, sets))
    return write_report(results, out)


def check_report(out: Path) -> None:
    """VprError where the report of an ablation cannot be written into the folder `out`."""
    check_table_output(out / 'report.md')
    check_output(out / 'report.json', lambda data: bool(json_keys(data) & {FULL, ALONE}))
    check_picture_output(out / 'ablation.png')


def write_report(results: dict[str, list[dict[str, float]]], out: Path) -> str:
    """Write the report and its picture into the folder `out`; returns the report."""
    check_report(out)
    report = report_of(results)
    with write_errors(out, 'the report'):
        stored = json.dumps(results, indent=2)
        write_together({out / 'report.json': stored.encode(), out / 'report.md': report.encode()})
    picture(results, out / 'ablation.png')
    return report


def _jobs(config: TrainConfig, seeds: int) -> list[tuple[str, int]]:
    """(row, seed) of every student to measure, the one that is not trained first."""
    return [('not trained', 0)] + [(row, seed) for seed in range(seeds) for row in rows(config)]


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--config', type=Path, help='settings file, such as config/train/ablation.yaml'
    )
    parser.add_argument(
        '--data', type=Path, help='folder of validation sets, each with an index.csv'
    )
    parser.add_argument(
        '--seeds',
        type=count,
        default=3,
        help='number of trainings per row, each with another seed (default: %(default)s)',
    )
    parser.add_argument(
        '--stored',
        type=Path,
        help='report.json of an earlier run: print its report again, without any training',
    )
    args = parser.parse_args(argv)
    if args.stored:
        print(report_of(read_results(args.stored)))
        return 0
    if not args.config or not args.data:
        raise VprError(
            '--config and --data are missing; give both, or --stored for a report that is there'
        )
    print(ablation(read_config(args.config), args.data, args.seeds))
    return 0


if __name__ == '__main__':
    run_command(main)
