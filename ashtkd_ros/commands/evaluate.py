# SPDX-License-Identifier: Apache-2.0
"""Replay a second traverse in a map, and report how well its places are recognised.

The traverse is a rosbag, a video or a folder of images. The report is one HTML file; its figures
are in a JSON file beside it. Which places are right follows from the poses of both traverses, from
--correspondences, or from place names.

example: ros2 run ashtkd_ros evaluate ~/maps/campus ~/bags/tuesday --metres 5 -o report.html
example: ros2 run ashtkd_ros evaluate ~/maps/campus ~/bags/tuesday --live --rate 2 -o live.html
example: ros2 run ashtkd_ros evaluate --compare day.html night.html -o comparison.html
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import count, given_options, not_negative, positive_count, share
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.playback_options import add_player_option, add_speed_options
from ashtkd_ros.cli.terminal import SafeParser, print_lines, print_notes
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.comparison import check_comparison, compare, table, write_comparison
from ashtkd_ros.evaluation.experiment import EvaluationOptions, Experiment
from ashtkd_ros.evaluation.ground_truth import Correspondences, Tolerance
from ashtkd_ros.evaluation.live_recording import record_live
from ashtkd_ros.evaluation.matched_positions import MatchedPositions
from ashtkd_ros.evaluation.node_answers import check_answers
from ashtkd_ros.evaluation.report import NOT_HTML, check_report, write_report
from ashtkd_ros.evaluation.report_file import load_report
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.evaluation.run import evaluate_map
from ashtkd_ros.evaluation.salient_pictures import overlay
from ashtkd_ros.images.bit_depth import map_bits
from ashtkd_ros.maps.tiled_map import load_whole
from ashtkd_ros.recognition.recogniser import (
    BY_THE_MAP,
    MIN_CONFIDENCE,
    TARGET_PRECISION,
    least_confidence,
    trust_note,
)
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.opening import open_traverse

_OF_LIVE = ('--rate', '--hz', '--player')  # those that need --live


def add_tolerance_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The options that say how near is right, in a group that is returned."""
    default, group = Tolerance(), parser.add_argument_group('which places are right')
    add = group.add_argument
    add(
        '--metres',
        type=not_negative,
        default=default.metres,
        help='where both have poses: the largest distance between a query and a right place, in '
        'metres (default: %(default)g)',
    )
    add(
        '--degrees',
        type=not_negative,
        default=default.degrees,
        help='where both have poses: the largest angle between the directions of view, in degrees '
        '(default: %(default)g)',
    )
    add(
        '--frames',
        type=count,
        default=default.frames,
        help='without poses, or with --correspondences: the largest difference between the frame '
        'numbers of a right place and the place found (default: %(default)d)',
    )
    return group


def tolerance_of(args: argparse.Namespace) -> Tolerance:
    """The tolerance that the command line asks for."""
    return Tolerance(args.metres, args.degrees, args.frames)


def report_path(out: Path) -> Path:
    """`out` if it ends in .html, else report.html in the folder `out`.

    VprError where `out` is no folder, and its name has the suffix of another kind of file.
    """
    if out.suffix == '.html':
        return out
    if out.suffix and not out.is_dir():
        raise VprError(f'{out}: {NOT_HTML}')
    return out / 'report.html'


def _options(args: argparse.Namespace) -> EvaluationOptions:
    correspondences = None
    if args.correspondences:
        correspondences = Correspondences.read(args.correspondences, args.frames)
    return EvaluationOptions(
        tolerance_of(args),
        correspondences,
        max_rate_hz=args.max_rate_hz,
        baselines=not args.no_baselines,
        timing=not args.no_timing,
        workers=args.threads,
        verify_top=args.verify_top,
        sequence_length=args.sequence_length,
    )


def _evaluate(args: argparse.Namespace) -> int:
    options = _options(args)
    path = report_path(args.out) if args.out else None
    embedder = load_embedder(args)
    place_map = load_whole(args.map, embedder)
    print_notes(*place_map.warnings)
    wanted = BY_THE_MAP if args.min_confidence is None else args.min_confidence
    least = least_confidence(place_map.info, wanted, args.target_precision)
    options = replace(options, min_confidence=least)
    print_notes(*filter(None, [trust_note(place_map.info, wanted, args.target_precision)]))
    bits = map_bits(place_map.traverses)
    wanted = traverse_options(args, origin=place_map.info.origin, bits=bits, purpose='query')
    traverse = open_traverse(args.source, wanted)
    experiment = Experiment(place_map, traverse, options)
    experiment.check()
    beside = path.with_suffix('.answers.json') if path else None
    if path:
        check_report(path)
        if args.live:
            check_answers(beside)
    with tempfile.TemporaryDirectory() as scratch:
        answers = args.answers
        if args.live:
            answers = beside or Path(scratch, 'answers.json')
            record_live(args.map, args.source, answers, _live_options(args))
        evaluation = evaluate_map(experiment, embedder, answers)
    _print(evaluation)
    if path:

        def salient(image: np.ndarray) -> np.ndarray:
            return overlay(image, embedder.salient_maps(image))

        matches_of = MatchedPositions(experiment, embedder)
        write_report(path, evaluation, experiment.pictures, salient, matches_of)
        print_lines(f'report: {path}')
    return 0


def _live_options(args: argparse.Namespace) -> dict[str, object]:
    """Those options of this command that are meant for `live`."""
    return {
        'rate': args.rate,
        'hz': args.hz,
        'player': args.player,
        'model': args.model,
        'providers': ','.join(args.providers),
        'verify-top': str(args.verify_top),  # 0 as well
        'sequence-length': args.sequence_length,
        'role': args.role,
        'image-topic': args.image_topic,
    }


def _print(evaluation: Evaluation) -> None:
    print_notes(*evaluation.notes)
    for name, metrics in evaluation.methods.items():
        print_lines(f'{name:>16}: {metrics.line()}')
    if evaluation.traffic is not None:
        t = evaluation.traffic
        print_lines(f'{counted(t.sent, "image")} sent, {t.answered} answered, {t.dropped} dropped')
    for stage, timing in evaluation.timing.items():
        print_lines(
            f'{stage:>16}: p50 {timing.p50:.1f} ms, p95 {timing.p95:.1f}, p99 {timing.p99:.1f}'
        )


def _compare(reports: Sequence[Path], out: Path | None) -> int:
    path = report_path(out) if out else None
    loaded = [load_report(report) for report in reports]
    if path:
        check_comparison(path, loaded)
    print_lines(*table(compare(loaded)).split('\n'))
    if path:
        write_comparison(path, loaded)
        print_lines(f'comparison: {path}')
    return 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('map', type=Path, nargs='?', help='folder of the map, made by build_map, or of its tiles')
    add(
        'source',
        type=Path,
        nargs='?',
        help='traverse to replay: a rosbag, a video, or a folder with poses.csv or index.csv',
    )
    add(
        '-o',
        '--out',
        type=Path,
        help='write the report to this HTML file, or as report.html to this folder (default: no '
        'report is written)',
    )
    add(
        '--compare',
        type=Path,
        nargs='+',
        metavar='REPORT',
        help='compare these reports, which were written earlier; give no map and no source then',
    )


def _add_trust_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('which answers are accepted').add_argument
    add(
        '--min-confidence',
        type=share,
        help='an answer with a lower confidence counts as unknown, 0 to 1 (default: what the map '
        f'tells for --target-precision, or {MIN_CONFIDENCE:g} where it tells nothing)',
    )
    add(
        '--target-precision',
        type=share,
        default=TARGET_PRECISION,
        help='share of the accepted answers that should be right, where the map chooses the '
        'lowest confidence, 0 to 1 (default: %(default)g)',
    )


def _add_measuring_options(parser: argparse.ArgumentParser) -> None:
    default = EvaluationOptions()
    add = parser.add_argument_group('what to measure').add_argument
    add(
        '--max-rate-hz',
        type=not_negative,
        default=default.max_rate_hz,
        help='highest number of images per second that are used, by their stamps; 0: all are used '
        '(default: %(default)g)',
    )
    add(
        '--verify-top',
        type=count,
        default=default.verify_top,
        help='how many of the most similar places are verified by local features, where the map '
        'has them; the report then also has the figures of the descriptor alone; 0: none '
        '(default: %(default)d)',
    )
    add(
        '--sequence-length',
        type=positive_count,
        default=default.sequence_length,
        help='how many images an answer remembers; above 1 the report also has the figures of '
        'single images, and of these added up over a fixed window (default: %(default)d)',
    )
    add(
        '--no-baselines',
        action='store_true',
        help='do not measure the baselines, raw pixels and HOG',
    )
    add(
        '--no-timing',
        action='store_true',
        help='do not measure durations, so that the same input gives a report of the same bytes',
    )


def _add_node_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('answers of a node').add_argument
    add(
        '--live',
        action='store_true',
        help='play the traverse through a vpr_node over ROS 2 and judge its answers; without it, '
        'the images are recognised without ROS',
    )
    add(
        '--answers',
        type=Path,
        help='judge the answers in this file, which the command live recorded (default: recognise '
        'the images without ROS)',
    )
    playing = parser.add_argument_group('how --live plays')
    add_speed_options(playing)
    add_player_option(playing)


def evaluate_parser() -> SafeParser:
    """The arguments of this command, which replay.launch.py has as well."""
    parser = make_parser(__doc__)
    _add_options(parser)
    _add_trust_options(parser)
    _add_measuring_options(parser)
    _add_node_options(parser)
    add_tolerance_options(parser).add_argument(
        '--correspondences',
        type=Path,
        help='CSV file with the columns query, map and, for a map of several traverses, traverse: '
        'which frame of the map is right for each query frame (default: the poses or the place '
        'names decide)',
    )
    add_traverse_options(parser)
    add_model_options(parser)
    return parser


def _refusal(args: argparse.Namespace, given: Sequence[str]) -> str:
    """Why options that are given would do nothing; empty where each has an effect."""
    if args.compare:
        idle = ', '.join(option for option in given if option not in ('--compare', '--out'))
        return f'--compare makes no use of {idle}; leave that out' if idle else ''
    for option in ('--verify-top', '--sequence-length'):
        if args.answers and option in given:
            return f'--answers makes no use of {option}; leave that out'
    idle = ', '.join(option for option in given if option in _OF_LIVE and not args.live)
    return (
        f'without --live there is no use for {idle}; add --live or leave that out' if idle else ''
    )


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = evaluate_parser()
    args = parser.parse_args(argv)
    if bool(args.compare) == bool(args.map) or bool(args.map) != bool(args.source):
        parser.error('give a map and a source, or --compare and reports')
    if args.live and args.answers:
        parser.error('--live records its own answers; leave out --live or --answers')
    if refusal := _refusal(args, given_options(parser, argv)):
        parser.error(refusal)
    run_command(lambda: _compare(args.compare, args.out) if args.compare else _evaluate(args))


if __name__ == '__main__':
    main()
