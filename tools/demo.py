# SPDX-License-Identifier: Apache-2.0
"""The whole product once: map of walk 1, the node as its own process, walk 2 as camera images.

make demo                 the rendered walks in test/data/town
make demo DATA=folder     your photos: an index.csv with roles, or two walks map/ and query/
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.commands.evaluate import add_tolerance_options, tolerance_of
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.experiment import EvaluationOptions, Experiment
from ashtkd_ros.evaluation.ground_truth import Tolerance, positives
from ashtkd_ros.evaluation.matched_positions import MatchedPositions
from ashtkd_ros.evaluation.node_answers import NodeAnswer, check_answers
from ashtkd_ros.evaluation.overview_picture import (
    check_overview_picture,
    write_overview_picture,
)
from ashtkd_ros.evaluation.report import check_report, write_report
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.evaluation.run import SINGLE, evaluate_map
from ashtkd_ros.evaluation.salient_pictures import overlay
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import Place, PlaceMap, place_spacing
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.recogniser import BY_THE_MAP, TARGET_PRECISION, least_confidence
from ashtkd_ros.ros.play.observer import Observer
from ashtkd_ros.ros.play.recording import answers_document, map_node, write_answers
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import Traverse, TraverseOptions
from tools.town import DAY, DUSK


def traverses(data: Path | None) -> tuple[Traverse, Traverse]:
    """The traverse that becomes the map, and the one that is replayed."""
    if data is None:
        return open_traverse(DAY), open_traverse(DUSK)
    if (data / 'index.csv').is_file():
        database, query = TraverseOptions(role='database'), TraverseOptions(role='query')
        return open_traverse(data, database), open_traverse(data, query)
    if (data / 'map').is_dir() and (data / 'query').is_dir():
        return open_traverse(data / 'map'), open_traverse(data / 'query')
    raise VprError(f'{data}: has neither an index.csv nor the folders map/ and query/')


def _place(answer: NodeAnswer, place_map: PlaceMap) -> Place:
    return place_map.places[place_map.places.first_rows[answer.places[0]]]


def print_answer(frame: Frame, answer: NodeAnswer, place_map: PlaceMap, verdict: str) -> None:
    """One line for the best candidate, which the node would keep to itself if it is in doubt."""
    place, confidence = _place(answer, place_map), answer.scores[0]
    least = least_confidence(place_map.info, BY_THE_MAP, TARGET_PRECISION)
    doubt = '' if confidence >= least else '  (would be reported as unknown)'
    print_lines(
        f'{frame.name:>16} → place {place.id:4d} ({place.source})  confidence {confidence:.2f}  '
        f'{verdict:5}  {1000 * answer.seconds:5.1f} ms{doubt}'
    )


def replay(observer: Observer, experiment: Experiment) -> dict[str, float]:
    """Ask about every query once, in order of time; what was sent, as `answers_document` takes it.

    The next image is sent when the last one is answered.
    """
    frames, place_map = list(experiment.queries), experiment.place_map
    tolerance = experiment.options.tolerance
    truth = positives(frames, place_map.places, tolerance)
    wider = positives(frames, place_map.places, tolerance.twice())
    print_lines(f'vpr_node runs; {len(frames)} images follow as camera messages')
    started = time.monotonic()
    for frame, right, near in zip(frames, truth, wider, strict=True):
        answer = observer.ask(frame)
        best = _place(answer, place_map).row
        verdict = 'right' if right[best] else 'near miss' if near[best] else 'WRONG'
        print_answer(frame, answer, place_map, verdict)
    hz = len(frames) / (time.monotonic() - started)
    observer.wait_for_answers(len(frames))  # they are here; the node's counts come later
    return {'sent': len(frames), 'rate': 1.0, 'hz': round(hz, 1)}


def record(experiment: Experiment, compressed: bool) -> dict[str, object]:
    """Start a node, replay the queries through it, and return the document of its answers."""
    folder, source = experiment.place_map.folder, experiment.traverse.path
    checksum = map_checksum(folder)
    with ros_session([]), map_node(folder, compressed) as (observer, _):
        observer.wait_until_active()
        return answers_document(observer, replay(observer, experiment), source, folder, checksum)


def print_figures(evaluation: Evaluation) -> None:
    """The figures of merit and the latency."""
    timing = evaluation.timing['sent → answered']
    print_lines(evaluation.methods[SINGLE].line())
    print_lines(
        'latency, camera message sent → place received: '
        f'p50 {timing.p50:.1f} ms, p95 {timing.p95:.1f} ms'
    )


def demo(data: Path | None, out: Path, tolerance: Tolerance, compressed: bool = False) -> None:
    """Build, replay, print, report."""
    mapped, replayed = traverses(data)
    report, picture = out / 'report.html', out / 'at_work.png'
    answers = report.with_suffix('.answers.json')
    check_report(report)
    check_answers(answers)
    check_overview_picture(picture)
    embedder = Embedder(shipped_model(), num_threads=1)
    place_map, _ = build_map([mapped], embedder, out / 'map', MapOptions(replace=True))
    spacing = place_spacing(place_map.places)
    apart = f', {spacing:.1f} m apart' if spacing else ''
    print_lines(f'map: {len(place_map.places)} places{apart}, in {place_map.folder}')
    least = least_confidence(place_map.info, BY_THE_MAP, TARGET_PRECISION)
    options = EvaluationOptions(tolerance, min_confidence=least)
    experiment = Experiment(place_map, replayed, options)
    experiment.check()
    write_answers(answers, record(experiment, compressed))
    title = f'{replayed.path.name} in map of {mapped.path.name}'
    evaluation = replace(evaluate_map(experiment, embedder, answers), title=title)
    print_figures(evaluation)
    write_report(
        report,
        evaluation,
        experiment.pictures,
        lambda image: overlay(image, embedder.salient_maps(image)),
        MatchedPositions(experiment, embedder),
    )
    write_overview_picture(picture, evaluation.judged, experiment.pictures)
    print_lines(f'report: {report}')


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--data', type=Path, help='folder of your own photos (default: the rendered walks)')
    add(
        '-o',
        '--out',
        type=Path,
        default=Path('demo_output'),
        help='folder for the map and the report (default: %(default)s)',
    )
    add('--compressed', action='store_true', help='send JPEG or PNG bytes, not pixels')
    add_tolerance_options(parser)
    args = parser.parse_args(argv)

    def command() -> int:
        demo(args.data, args.out, tolerance_of(args), args.compressed)
        return 0

    run_command(command)


if __name__ == '__main__':
    main()
