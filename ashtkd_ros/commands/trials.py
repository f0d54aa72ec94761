# SPDX-License-Identifier: Apache-2.0
"""Outdoor trials afterwards: list them, report on them, learn from them.

A report lies in the folder of its trial: report.html, report.json, answers.csv. What is right
follows from satellite fixes, from poses in the frame of the map, from names of images, or from
marks of the operator.

example: ros2 run ashtkd_ros trials list
example: ros2 run ashtkd_ros trials report ~/vpr_trials/2026-11-28_17-05-00_dusk
example: ros2 run ashtkd_ros trials report ~/vpr_trials --metres 5 -o overview.html
example: ros2 run ashtkd_ros trials export ~/vpr_trials -o hard_cases
example: ros2 run ashtkd_ros trials suggest ~/vpr_trials
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands import trials_learning
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.page import decimal, percent
from ashtkd_ros.text import counted
from ashtkd_ros.trials.folder import REPORT, TRIALS, TrialFolder, trials_in
from ashtkd_ros.trials.judging import UNJUDGED
from ashtkd_ros.trials.listing import summary_of, trials_of
from ashtkd_ros.trials.overview import overview_of
from ashtkd_ros.trials.overview_page import check_overview, write_overview
from ashtkd_ros.trials.report_files import (
    check_report_files,
    load_written,
    report_values,
    write_report_files,
)
from ashtkd_ros.trials.stretches import chief
from ashtkd_ros.trials.trial_page import clock, trial_page
from ashtkd_ros.trials.trial_report import ReportOptions, TrialReport, make_report
from ashtkd_ros.trials.truth import TRUTHS

_MOST_LINES = 20  # of faults and of stretches that are printed


def add_trials_argument(parser: argparse.ArgumentParser) -> None:
    """The trials that a subcommand is about."""
    parser.add_argument(
        'trials',
        type=Path,
        nargs='+',
        metavar='TRIAL',
        help='folder of a trial, or a folder of trials',
    )


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    """How the answers of a trial are judged."""
    default, add = ReportOptions(), parser.add_argument_group('what is right').add_argument
    text = 'folder of the map (default: the one that each trial was driven with)'
    add('--map', type=Path, help=text)
    text = 'a place is right within so many metres of where the image was taken; the direction of '
    text += 'view does not count (default: %(default)g)'
    add('--metres', type=positive, default=default.metres, help=text)
    text = 'what tells where the robot was: satellite fixes, odometry or poses, marks, names of '
    text += 'images (labels.csv); auto: the first of them that tells anything, and the marks '
    add('--truth', choices=TRUTHS, default=default.truth, help=text + '(default: %(default)s)')


def judging_options(args: argparse.Namespace) -> ReportOptions:
    """Those that the command line gives."""
    return ReportOptions(args.map, args.metres, args.truth)


def _list(args: argparse.Namespace) -> int:
    trials = trials_in(args.folder.expanduser())
    print_lines(*(summary_of(trial).line for trial in trials))
    if not trials:
        print_notes(f'{args.folder}: holds no trial')
    return 0


def _report(args: argparse.Namespace) -> int:
    trials, options = trials_of(args.trials), judging_options(args)
    for trial in trials:
        check_report_files(trial)
    if args.out is not None:
        check_overview(args.out, [trial.path / REPORT for trial in trials])
    values = [_reported(trial, options, args.written) for trial in trials]
    if args.out is not None:
        write_overview(args.out, overview_of(values))
        print_lines(f'overview: {args.out}')
    return 0


def _reported(trial: TrialFolder, options: ReportOptions, written: bool) -> Mapping:
    """What report.json of a trial holds, written now unless it is there and `written` is given."""
    if written:
        try:
            return load_written(trial).values
        except VprError as error:
            print_notes(str(error))
    report = make_report(trial, options, print_notes)
    write_report_files(report, trial_page(report))
    _print(report)
    return report_values(report)


def _print(report: TrialReport) -> None:
    source, f = report.source, report.figures
    print_notes(*(f'{report.name}: {note}' for note in report.notes))
    condition = f', {report.condition}' if report.condition else ''
    answers = counted(f['answers'], 'answer')
    print_lines(f'{report.name}{condition}: {source.seconds / 60:.1f} minutes, {answers}')
    if report.truth.kinds:
        print_lines(
            f'  on the map: {percent(f["right_share"])} right, {percent(f["wrong_share"])} wrong, '
            f'{percent(f["unknown_share"])} unknown; precision {percent(f["precision"])}; off the '
            f'map {f["off_map"]}, {f["off_map_wrong"]} of them named; {f["unjudged"]} not judged'
        )
    else:
        print_lines(f'  named: {percent(f["named_share"])}; nothing tells what is right')
    print_lines(
        f'  between right answers {decimal(f["metres_between_median"], 1)} m, longest '
        f'{decimal(f["metres_between_longest"], 1)} m; lost {counted(f["lost_times"], "time")}, '
        f'{f["lost_s"]:.1f} s; latency {decimal(f["latency_p50_ms"], 0)} ms'
    )
    faults = [e for e in source.events if e.is_fault]
    print_lines(*(f'  {clock(e.seconds)} {e.kind}: {e.text}' for e in faults[:_MOST_LINES]))
    for s in chief([s for s in report.stretches if s.what != UNJUDGED], _MOST_LINES):
        why = '' if s.reason == s.what else f': {s.reason}'
        print_lines(f'  {clock(s.start)} {s.what} for {s.end - s.start:.1f} s{why}')
    print_lines(f'  report: {source.folder.path / REPORT}')


def _add_parsers(commands: argparse._SubParsersAction) -> None:
    text = 'list the trials in a folder: name, condition, length, images, faults, whether there '
    listing = commands.add_parser('list', help='list trials', description=text + 'is a report.')
    listing.set_defaults(run=_list)
    text = 'folder of trials (default: %(default)s)'
    listing.add_argument('folder', type=Path, nargs='?', default=Path(TRIALS), help=text)
    text = 'Judge the answers that were recorded in trials, and tell what went wrong when, and '
    text += 'why. The report of each lies in its folder.'
    report = commands.add_parser('report', help='report on trials', description=text)
    report.set_defaults(run=_report)
    add_trials_argument(report)
    text = 'also write an overview of all trials to this HTML file, with .csv and .json beside it '
    text += '(default: none)'
    report.add_argument('-o', '--out', type=Path, help=text)
    text = 'take reports that are there, and write only those that are missing'
    report.add_argument('--written', action='store_true', help=text)
    add_judging_options(report)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    _add_parsers(commands)
    trials_learning.add_parsers(commands, add_trials_argument, add_judging_options)
    args = parser.parse_args(argv)
    run_command(lambda: args.run(args))


if __name__ == '__main__':
    main()
