# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have, and what is made of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.arguments import count, not_negative
from ashtkd_ros.geometry.camera_axes import CHOICES
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.traverse import TraverseOptions


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that every command with a network has."""
    parser.add_argument('--model', type=Path, help='network (.onnx); default: the shipped student')
    parser.add_argument('--threads', type=count, default=0, help='images at a time; 0: every core')


def load_embedder(args: argparse.Namespace) -> Embedder:
    """The network that the command line asks for, one thread an image: see `in_parallel`."""
    return Embedder(args.model or shipped_model(), num_threads=1)


def add_traverse_options(parser: argparse.ArgumentParser) -> None:
    """What of a bag or folder to use."""
    default = TraverseOptions()
    group = parser.add_argument_group('what of a source to use')
    add = group.add_argument
    add(
        '--role',
        default='',
        help='rows of an index.csv to take; else database for a map, query to replay',
    )
    add('--image-topic', default='', help='where a bag has several')
    add('--pose-topic', default='', help='odometry, pose, /tf or NavSatFix; "none": no poses')
    add('--trajectory', type=Path, help='file in TUM format instead of a topic')
    add('--stamps', choices=('header', 'receive'), default=default.stamps, help='whose times')
    gap = default.max_pose_gap_s
    add('--max-pose-gap', type=not_negative, default=gap, metavar='S', help=f'seconds ({gap})')
    add('--map-frame', default='', help='with /tf: the fixed frame; else map, odom or the root')
    add('--camera-frame', default='', help="with /tf; else the images' own frame")
    text = "axes of the camera's frame; auto: by its motion, else by its name"
    add('--camera-frame-is', choices=CHOICES, default=default.camera_frame_is, help=text)
    add('--labels', type=Path, help='CSV frame,label; else labels.csv in the bag')


def traverse_options(args: argparse.Namespace, **others: object) -> TraverseOptions:
    """What the command line says of sources; `others`: fields of which it says nothing."""
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
        **others,
    )
