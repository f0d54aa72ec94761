# SPDX-License-Identifier: Apache-2.0
"""Fit the confidence of a map to another traverse of its route.

build_map fits it to the map's own pictures, synthetically changed. Where you have a second
traverse with poses or place names, this command fits it to real changes instead: under other
light, in another season, by another camera. Evaluate it on a third traverse.

example: ros2 run ashtkd_ros calibrate ~/maps/campus ~/bags/tuesday
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.evaluate import add_tolerance_options, tolerance_of
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.evaluation.experiment import EvaluationOptions, Experiment
from ashtkd_ros.evaluation.labelled_calibration import calibrated_to
from ashtkd_ros.images.bit_depth import map_bits
from ashtkd_ros.mapping.revision import put_rows, target_of
from ashtkd_ros.maps.map_summary import trust_lines
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.opening import open_traverse


def _calibrate(args: argparse.Namespace) -> int:
    target = target_of(args.map)  # before the work
    embedder = load_embedder(args)
    place_map = PlaceMap.load(args.map, embedder, pictures=True, without_damaged=True)
    print_notes(*place_map.warnings)
    bits = map_bits(place_map.traverses)
    wanted = traverse_options(args, origin=place_map.info.origin, bits=bits, purpose='query')
    traverse = open_traverse(args.source, wanted)
    options = EvaluationOptions(tolerance_of(args), workers=args.threads)
    experiment = Experiment(place_map, traverse, options)
    experiment.check()
    found, images = calibrated_to(experiment, embedder)
    place_map.info = place_map.info.calibrated(found.coefficients, found.trust)
    put_rows(place_map, target)
    print_lines(f'{args.map}: calibrated to {counted(images, "image")} of {args.source}')
    print_lines(*(f'{name}: {text}' for name, text in trust_lines(place_map.info).items()))
    return 0


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('map', type=Path, help='folder of the map, made by build_map')
    parser.add_argument(
        'source',
        type=Path,
        help='another traverse of the route, with poses or place names: a rosbag, a video, or a '
        'folder with poses.csv or index.csv',
    )
    add_tolerance_options(parser)
    add_traverse_options(parser)
    add_model_options(parser)
    args = parser.parse_args(argv)
    run_command(lambda: _calibrate(args))


if __name__ == '__main__':
    main()
