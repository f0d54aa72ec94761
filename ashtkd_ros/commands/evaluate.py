# SPDX-License-Identifier: Apache-2.0
"""Replay a second traverse, a rosbag or a folder of images, in a map and report how it went.

The report is one HTML file, with its figures as JSON beside it. What is right comes from the poses
of both traverses, from --correspondences (CSV query,map of frame numbers), or from place names.

example: ros2 run ashtkd_ros evaluate ~/maps/campus ~/bags/tuesday --metres 5 -o report.html
example: ros2 run ashtkd_ros evaluate ~/maps/campus ~/bags/tuesday --live --rate 2 -o live.html
example: ros2 run ashtkd_ros evaluate --compare day.html night.html -o comparison.html
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import count, not_negative, rate, share
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import note, say
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.comparison import compare, load_report, table, write_comparison
from ashtkd_ros.evaluation.metrics import Correspondences, Tolerance
from ashtkd_ros.evaluation.node_answers import NodeAnswers, check_answers
from ashtkd_ros.evaluation.report import Evaluation, check_report, write_report
from ashtkd_ros.evaluation.run import (
    EvaluationOptions,
    Queries,
    evaluate_traverse,
    judged_queries,
    needs_poses,
    recognise_offline,
    replies_of,
    similarity_sample,
)
from ashtkd_ros.evaluation.salient_pictures import overlay
from ashtkd_ros.evaluation.shared_images import note_of, shared_images
from ashtkd_ros.files.writing import check_output
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry
from ashtkd_ros.images.bit_depth import bits_of, map_bits
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.text import one_line
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import Traverse


def evaluate_map(
    map_folder: Path,
    place_map: PlaceMap,
    queries: Queries,
    embedder: Embedder,
    options: EvaluationOptions,
    answers: Path | None = None,
) -> tuple[Evaluation, PlacePictures]:
    """Match every image of a traverse in the map, or take the node's `answers`, and judge."""
    traverse, notes = queries.traverse, _pose_notes(place_map, queries.traverse, options)
    rate = f'at most {options.max_rate_hz:g} images a second'
    how = {'How': f'offline, {rate if options.max_rate_hz else "every image"}'}
    if answers is None:
        replies = recognise_offline(embedder, place_map, queries, options)
    else:
        recorded = NodeAnswers.read(answers)
        recorded.check_map(map_folder, len(place_map.places))
        replies = replies_of(recorded, queries, place_map, notes)
        replies.descriptors = similarity_sample(embedder, replies.frames, options.workers)
        how = recorded.facts()
    facts = {
        'Map': f'{map_folder}, {len(place_map.places)} places',
        'Replayed': str(traverse.path),
        'Images': str(len(replies.frames)),
        'Network': f'{embedder.name} {embedder.hash[:16]}',
        'Right is': _truth(options, place_map, traverse),
        **how,
    }
    title = f'{traverse.path.name} in map {Path(map_folder).name}'
    pictures = PlacePictures(place_map)
    evaluation = evaluate_traverse(replies, place_map, pictures, queries, options, title, facts)
    evaluation.notes.extend(notes)
    evaluation.notes.extend(_depth_notes(place_map, traverse))
    evaluation.notes.extend(_lonely_notes(evaluation, facts['Right is']))
    shared = shared_images(place_map, traverse, replies.frames, replies.descriptors)
    evaluation.notes[:0] = note_of(shared, len(replies.frames), traverse.preselected)
    return evaluation, pictures


def _pose_notes(place_map: PlaceMap, traverse: Traverse, options: EvaluationOptions) -> list[str]:
    """What may be wrong with the poses that judge."""
    if not needs_poses(place_map, traverse, options):
        return []
    notes, frame = [], place_map.info.frame
    if traverse.frame_id != frame:
        notes.append(
            f'poses are in {traverse.frame_id}, those of the map in {frame}: '
            'is that the same frame?'
        )
    elif bool(_origin(place_map)) != bool(traverse.origin):
        one, other = 'the map', 'the traverse'
        if traverse.origin:
            one, other = other, one
        notes.append(
            f'the poses of {one} come from satellites, those of {other} do not, though both are '
            f'in {frame}: is that the same frame?'
        )
    notes += _odometry_notes(place_map, traverse)
    if lacking := sum(place.pose is None for place in place_map.places):
        notes.append(f'{lacking} places of the map have no pose and are never right')
    return notes


def _lonely_notes(evaluation: Evaluation, right: str) -> list[str]:
    """That most queries have no right place: recall then says nothing of the recognition."""
    metrics = next(iter(evaluation.methods.values()))
    without, count = metrics.without_positive, metrics.queries
    if 2 * without <= count:
        return []
    share = 'none' if without == count else f'only {count - without}'
    return [
        f'{share} of {count} queries has a right place in the map ({right}): do map and replay '
        'show the same route, are their poses in one frame, are the numbers those of its frames?'
    ]


def _depth_notes(place_map: PlaceMap, traverse: Traverse) -> list[str]:
    """That 16 bit values were scaled otherwise for the map, or do not fit its range."""
    depth, before = traverse.depth, {bits_of(t) for t in place_map.traverses if 'bits' in t}
    notes = [text] if (text := depth.text_of_brighter()) else []
    if depth.used and not before <= {depth.bits}:
        notes.append(
            f'the images of the map used {max(before)} bits, these use {depth.bits} and what is '
            'as bright looks darker; build the map of brighter images, or of both'
        )
    return notes


def _odometry_notes(place_map: PlaceMap, traverse: Traverse) -> list[str]:
    """That two recordings by odometry have hardly one frame, whatever their frames are called."""
    info, source = place_map.info, traverse.path.resolve()
    known = any(t.get(ODOMETRY_KEY) for t in info.traverses) or is_odometry(info.frame)
    sources = {Path(t['source']) for t in info.traverses}
    if not (known and traverse.by_odometry) or sources == {source}:
        return []
    if sources & {source, source.parent}:  # a file of the same bag
        return []
    sure = 'are probably' if is_odometry(info.frame) else 'may be'
    return [
        f'the poses of the map and those of {traverse.path} are odometry of different recordings, '
        f'each of which begins a frame of its own: they {sure} not in one frame, and right '
        'answers may count as wrong; judge by poses in "map" (--pose-topic, --trajectory), by '
        '--correspondences or by place names'
    ]


def _origin(place_map: PlaceMap) -> GeoOrigin | None:
    origin = place_map.info.built.get('origin')
    return GeoOrigin(**origin) if origin else None


def _truth(options: EvaluationOptions, place_map: PlaceMap, traverse: Traverse) -> str:
    t = options.tolerance
    if options.truth is not None:
        return f'a listed map frame, within {t.frames} frames'
    if needs_poses(place_map, traverse, options):
        return f'a place within {t.metres:g} m and {t.degrees:g} degrees'
    return f'the same place name, or numbers within {t.frames}'


def add_tolerance_options(parser: argparse.ArgumentParser) -> None:
    """How near is right."""
    default = Tolerance()
    parser.add_argument('--metres', type=not_negative, default=default.metres, help='with poses')
    parser.add_argument('--degrees', type=not_negative, default=default.degrees, help='with poses')
    parser.add_argument('--frames', type=count, default=default.frames, help='numbered places')


def tolerance_of(args: argparse.Namespace) -> Tolerance:
    """The tolerance that the command line asks for."""
    return Tolerance(args.metres, args.degrees, args.frames)


def _options(args: argparse.Namespace) -> EvaluationOptions:
    truth = None
    if args.correspondences:
        truth = Correspondences.read(args.correspondences, args.frames)
    return EvaluationOptions(
        tolerance_of(args),
        truth,
        args.min_confidence,
        args.max_rate_hz,
        not args.no_baselines,
        not args.no_timing,
        args.threads,
    )


def record_live(args: argparse.Namespace, answers: Path) -> None:
    """Have the traverse played through a node of its own, in another process, which writes
    `answers`; VprError where ROS is not there or that process fails, which has said why."""
    command = [sys.executable, '-m', 'ashtkd_ros.ros.play.live', args.map, args.source]
    command += ['-o', answers]
    command += ['--rate', args.rate]
    for name in ('model', 'role', 'image_topic'):
        value = getattr(args, name)
        command += [f'--{name.replace("_", "-")}', value] if value else []
    process = subprocess.run([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    lines = process.stderr.strip().splitlines() or [f'status {process.returncode}']
    if process.returncode == 0:
        for line in process.stderr.splitlines():
            print(one_line(line), file=sys.stderr)
    elif 'No module named' in lines[-1]:
        raise VprError('--live needs ROS 2; source its setup.bash, or leave --live away')
    else:
        raise VprError(f'the live replay failed: {lines[-1].removeprefix("error: ")}')


def report_path(out: Path) -> Path:
    """REPORT.html, or report.html in a folder of that name."""
    return out if out.suffix == '.html' else out / 'report.html'


def _evaluate(args: argparse.Namespace) -> int:
    options = _options(args)
    embedder = load_embedder(args)
    place_map = PlaceMap.load(args.map, embedder)
    note(*place_map.warnings)
    bits = map_bits(place_map.traverses)
    wanted = traverse_options(args, origin=_origin(place_map), bits=bits, purpose='query')
    traverse = open_traverse(args.source, wanted)
    queries = judged_queries(place_map, traverse, options)
    path = report_path(args.out) if args.out else None
    if path:
        check_output(path)
        check_report(path)
        if args.live:
            check_answers(path.with_suffix('.answers.json'))
    with tempfile.TemporaryDirectory() as scratch:
        answers = args.answers
        if args.live:
            beside = path.with_suffix('.answers.json') if path else None
            answers = beside or Path(scratch, 'answers.json')
            record_live(args, answers)
        evaluation, pictures = evaluate_map(
            args.map, place_map, queries, embedder, options, answers
        )
    note(*evaluation.notes)
    for name, metrics in evaluation.methods.items():
        say(f'{name:>16}: {metrics.line()}')
    if evaluation.traffic is not None:
        t = evaluation.traffic
        say(f'{t.sent} images sent, {t.answered} answered, {t.dropped} dropped')
    for stage, timing in evaluation.timing.items():
        say(f'{stage:>16}: p50 {timing.p50:.1f} ms, p95 {timing.p95:.1f}, p99 {timing.p99:.1f}')
    if path:

        def salient(image: np.ndarray) -> np.ndarray:
            return overlay(image, embedder.salient_maps(image))

        write_report(path, evaluation, pictures, salient)
        say(f'report: {path}')
    return 0


def _compare(reports: Sequence[Path], out: Path | None) -> int:
    loaded = [load_report(path) for path in reports]
    say(*table(compare(loaded)).split('\n'))
    if out:
        write_comparison(report_path(out), loaded)
        say(f'comparison: {report_path(out)}')
    return 0


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('map', type=Path, nargs='?', help='folder made by build_map')
    add('source', type=Path, nargs='?', help='bag, or folder with poses.csv or index.csv')
    add('-o', '--out', type=Path, help='HTML report to write, or a folder for it')
    add('--compare', type=Path, nargs='+', metavar='REPORT', help='compare reports instead')
    add('--live', action='store_true', help='play through the node, over ROS 2')
    add('--rate', type=rate, default=1.0, help='with --live: how much faster than recorded (1)')
    add(
        '--answers', type=Path, help="the node's answers, as recorded by live, instead of matching"
    )
    add('--correspondences', type=Path, help='CSV query,map[,traverse]: right frames')
    confidence = EvaluationOptions().min_confidence
    add('--min-confidence', type=share, default=confidence, help=f'unknown below ({confidence})')
    add('--max-rate-hz', type=not_negative, default=0.0, help='images a second at most, by stamp')
    add('--no-baselines', action='store_true', help='without raw pixels and HOG')
    add('--no-timing', action='store_true', help='no durations: equal input, equal bytes out')
    add_tolerance_options(parser)
    add_traverse_options(parser)
    add_model_options(parser)
    args = parser.parse_args(argv)
    if bool(args.compare) == bool(args.map) or bool(args.map) != bool(args.source):
        parser.error('give a map and a source, or --compare and reports')
    if args.live and args.answers:
        parser.error('--live records answers of its own; leave it or --answers out')
    run_command(lambda: _compare(args.compare, args.out) if args.compare else _evaluate(args))


if __name__ == '__main__':
    main()
