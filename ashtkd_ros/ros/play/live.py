# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag, a video or a folder of images to a vpr_node, and write down what it answers.

A node is started and asked for every candidate. With --node, a running node is used instead.

example: ros2 run ashtkd_ros live ~/maps/campus tuesday.mcap -o answers.json --rate 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ashtkd_ros.cli.arguments import count, given_options, positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.playback_options import add_player_option
from ashtkd_ros.cli.terminal import print_lines, print_source_notes
from ashtkd_ros.commands.options import add_providers_option
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.node_answers import check_answers
from ashtkd_ros.ros.play.play_options import add_source_options, open_playback, own_arguments
from ashtkd_ros.ros.play.players import choose_player
from ashtkd_ros.ros.play.recording import RecordingOptions, record_answers, write_answers
from ashtkd_ros.ros.session import end_on_signal, ros_session

_OF_A_NODE = frozenset(
    {'--model', '--providers', '--verify-top', '--sequence-length'}
)  # that is started


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('map', type=Path, help='folder of the map, made by build_map, or of its tiles')
    add_source_options(parser)
    add(
        '-o',
        '--out',
        type=Path,
        required=True,
        help='write the answers to this file (JSON), which evaluate --answers reads',
    )
    add(
        '--model',
        type=Path,
        help='network of the node, an .onnx file (default: the network that comes with the '
        'package)',
    )
    add_providers_option(parser)
    add(
        '--node',
        default='',
        help='full name of a running node that has this map (default: a node is started)',
    )
    add(
        '--verify-top',
        type=count,
        help='how many of the most similar places the node verifies by local features; 0: none '
        '(default: that of the node)',
    )
    add(
        '--sequence-length',
        type=positive_count,
        help='how many images an answer of the node remembers (default: that of the node)',
    )
    add_player_option(parser)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv if argv is None else ['live', *argv]
    parser = make_parser(__doc__)
    _add_options(parser)
    given = own_arguments(argv)
    args = parser.parse_args(given)

    def command() -> int:
        for name in _OF_A_NODE.intersection(given_options(parser, given)):
            if args.node:
                raise VprError(f'{name} is for a node that is started; leave out {name} or --node')
        source = open_playback(args)
        told = len(source.traverse.notes)
        player = choose_player(args.player, source)
        check_answers(args.out)
        options = RecordingOptions(
            args.map,
            player,
            args.rate,
            args.node,
            args.model,
            args.providers,
            args.verify_top,
            args.sequence_length,
        )
        with ros_session(argv):
            answers = record_answers(source, options)
            end_on_signal()
        write_answers(args.out, answers)
        print_source_notes(source.path, source.traverse.notes[told:])
        print_lines(f'{len(answers["answers"])} answers to {answers["sent"]} images: {args.out}')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()
