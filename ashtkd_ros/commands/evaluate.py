# SPDX-License-Identifier: Apache-2.0
"""Measure a map on a second traverse of the same route.

example: ros2 run ashtkd_ros evaluate ~/maps/campus ~/walks/tuesday --metres 5 -o report.html
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ashtkd_ros.commands import add_model_options, load_embedder, make_parser, run_command
from ashtkd_ros.evaluation import RECALL_AT, Metrics, Tolerance, evaluate, positives
from ashtkd_ros.matcher import Matcher, MatcherConfig
from ashtkd_ros.place_map import PlaceMap
from ashtkd_ros.recogniser import embed_frames
from ashtkd_ros.report import Answer, write_report
from ashtkd_ros.sources import read_source


def evaluate_map(
    map_folder: Path, source: Path, tolerance: Tolerance, args: argparse.Namespace
) -> tuple[Metrics, list[Answer]]:
    """Match every image of `source` in the map, offline, and compare with the ground truth."""
    embedder = load_embedder(args)
    place_map = PlaceMap.load(map_folder, embedder)
    frames = read_source(source, args.role)
    truth = positives(frames, place_map.places, tolerance)
    matcher = Matcher(place_map, MatcherConfig(top_k=min(max(RECALL_AT), len(place_map.places))))
    found = [matcher.match(d) for d in embed_frames(embedder, frames, 'evaluate')]
    ranking = np.array([[c.place.id for c in candidates] for candidates in found])
    scores = np.array([candidates[0].confidence for candidates in found])
    metrics = evaluate(ranking, scores, truth)
    answers = [
        Answer(frame, c[0].place, c[0].confidence, bool(truth[i, c[0].place.id]))
        for i, (frame, c) in enumerate(zip(frames, found, strict=True))
    ]
    return metrics, answers


def add_tolerance_options(parser: argparse.ArgumentParser) -> None:
    """How near is right."""
    default = Tolerance()
    parser.add_argument('--metres', type=float, default=default.metres, help='with poses')
    parser.add_argument('--degrees', type=float, default=default.degrees, help='with poses')
    parser.add_argument('--frames', type=int, default=default.frames, help='numbered places')


def tolerance_of(args: argparse.Namespace) -> Tolerance:
    """The tolerance that the command line asks for."""
    return Tolerance(args.metres, args.degrees, args.frames)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('map', type=Path, help='folder made by build_map')
    parser.add_argument('source', type=Path, help='folder with poses.csv or index.csv')
    parser.add_argument('-o', '--out', type=Path, help='HTML report to write')
    parser.add_argument('--role', default='', help='rows of index.csv to take, e.g. query')
    add_tolerance_options(parser)
    add_model_options(parser)
    args = parser.parse_args(argv)

    def command() -> int:
        metrics, answers = evaluate_map(args.map, args.source, tolerance_of(args), args)
        print(metrics.line())
        if args.out:
            title = f'{args.source.name} in map {args.map.name}'
            map_images = Path(PlaceMap.load(args.map).info.built.get('source', ''))
            write_report(args.out, title, metrics, answers, map_images)
            print(f'report: {args.out}')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()
