# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.arguments import count, not_negative, seconds
from ashtkd_ros.cli.terminal import print_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.camera_axes import CHOICES
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import worker_count
from ashtkd_ros.network.providers import AUTO, CPU, check_names
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.traverse import TraverseOptions


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that uses a network."""
    parser.add_argument(
        '--model',
        type=Path,
        help='network, an .onnx file (default: the network that comes with the package)',
    )
    parser.add_argument(
        '--threads',
        type=count,
        default=0,
        help='number of images that the network processes at the same time; 0: one on each core '
        '(default: %(default)d)',
    )
    add_providers_option(parser)


def add_providers_option(parser: argparse.ArgumentParser) -> None:
    """The option --providers."""
    parser.add_argument(
        '--providers',
        type=provider_names,
        default=AUTO,
        metavar='NAMES',
        help='execution providers of ONNX Runtime, separated by commas, the preferred one first; '
        'auto: CUDA, else OpenVINO, else the CPU, as far as they are installed and work '
        '(default: %(default)s)',
    )


def provider_names(text: str) -> tuple[str, ...]:
    """Type of an argument: names of execution providers, separated by commas."""
    names = tuple(name.strip() for name in text.split(','))
    try:
        check_names(names)
    except VprError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


def load_embedder(args: argparse.Namespace) -> Embedder:
    """The network that the command line names, with one thread for each image.

    Which provider it uses, if not the CPU, is noted.
    """
    embedder = Embedder(
        args.model or shipped_model(),
        args.providers,
        num_threads=1,
        at_once=worker_count(args.threads),
        notify=print_notes,
        warn=print_notes,
    )
    if embedder.provider != CPU:
        print_notes(f'the network runs on {embedder.provider}')
    return embedder


def add_traverse_options(parser: argparse.ArgumentParser) -> None:
    """The options for what of a bag, a video or a folder is used."""
    default = TraverseOptions()
    add = parser.add_argument_group('what of a source to use').add_argument
    text = 'take the rows of index.csv with this role (default: the rows of the database for '
    text += 'build_map, those of the queries for evaluate)'
    add('--role', default='', help=text)
    text = 'topic of the images in a bag (default: the only topic with images)'
    add('--image-topic', default='', help=text)
    text = 'topic of poses in a bag: odometry, poses, tf or NavSatFix; "none": use no poses '
    add('--pose-topic', default='', help=text + '(default: the only topic with poses)')
    text = 'file of poses in TUM format, for a bag or a video (default: the poses of a topic)'
    add('--trajectory', type=Path, help=text)
    text = "time of a video's first image in seconds, on the clock of its --trajectory "
    add(
        '--video-start',
        type=seconds,
        default=default.video_start,
        metavar='S',
        help=text + '(default: %(default)g)',
    )
    text = 'which time of a message counts: that of its header, or when it was received '
    text += '(default: %(default)s)'
    add('--stamps', choices=('header', 'receive'), default=default.stamps, help=text)
    gap = default.max_pose_gap_s
    text = 'longest time between two poses across which poses are interpolated, in seconds '
    text += '(default: %(default)g)'
    add('--max-pose-gap', type=not_negative, default=gap, metavar='S', help=text)
    text = 'fixed frame of the poses in tf (default: map, else odom, else the root of the tf tree)'
    add('--map-frame', default='', help=text)
    text = "frame of the camera in tf (default: the one that the images' headers name)"
    add('--camera-frame', default='', help=text)
    text = 'axes of the poses: optical (z forward) or body (x forward); auto: decided by the '
    text += f"motion, else by the frame's name (default: {default.camera_frame_is})"
    add('--camera-frame-is', choices=CHOICES, default=default.camera_frame_is, help=text)
    text = 'CSV file with the columns frame,label: names of the places that the images show '
    add('--labels', type=Path, help=text + '(default: labels.csv in the folder of a bag)')


def traverse_options(args: argparse.Namespace, **others: object) -> TraverseOptions:
    """The command line's options for sources; `others`: fields that it does not have."""
    return TraverseOptions(
        role=args.role,
        image_topic=args.image_topic,
        pose_topic=args.pose_topic,
        trajectory=args.trajectory,
        stamps=args.stamps,
        max_pose_gap_s=args.max_pose_gap,
        map_frame=args.map_frame,
        camera_frame=args.camera_frame,
        camera_frame_is=args.camera_frame_is,
        labels=args.labels,
        video_start=args.video_start,
        **others,
    )
