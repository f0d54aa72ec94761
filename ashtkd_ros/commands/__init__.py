# SPDX-License-Identifier: Apache-2.0
"""What `ros2 run ashtkd_ros ...` starts, and the frame all commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ashtkd_ros.cli.terminal import Parser, fail, let_go_of_output, line_of, note, tame_output
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.camera_axes import CHOICES
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.bag_traverse import open_traverse
from ashtkd_ros.traverses.traverse import Traverse, TraverseOptions


def run_command(command: Callable[[], int]) -> None:
    """Run a command's body and exit: 0 done, 1 failed with one line that says why.

    With ASHTKD_DEBUG=1 the traceback comes before that line.
    """
    with tame_output():
        status = _status(command)
        try:
            sys.stdout.flush()
        except (OSError, ValueError):  # it would be tried again at exit, with a traceback
            let_go_of_output()
    sys.exit(status)


def _status(command: Callable[[], int]) -> int:
    try:
        status = command()
        sys.stdout.flush()
        return status
    except VprError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader (head, less) has seen enough
        let_go_of_output()
        return 0
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except Exception as error:  # whatever no door foresaw: never a traceback for a user
        fail(line_of(error))
    return 1


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Parser whose help is the command's own docstring, example included."""
    return Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def finite(text: str) -> float:
    """Type of an argument: a number, neither infinite nor NaN."""
    return _number(text, 'a finite number', lambda _: True)


def positive(text: str) -> float:
    """Type of an argument: a number above 0."""
    return _number(text, 'a positive number', lambda n: n > 0)


def rate(text: str) -> float:
    """Type of an argument: times a second, or a factor of speed, that a machine can follow."""
    return _number(text, 'a number from 0.001 to 10000', lambda n: 1e-3 <= n <= 1e4)


def not_negative(text: str) -> float:
    """Type of an argument: a number from 0 on."""
    return _number(text, 'a number from 0 on', lambda n: n >= 0)


def share(text: str) -> float:
    """Type of an argument: a number from 0 to 1."""
    return _number(text, 'a number from 0 to 1', lambda n: 0 <= n <= 1)


def count(text: str) -> int:
    """Type of an argument: a whole number from 0 on."""
    return int(_number(text, 'a whole number from 0 on', lambda n: n >= 0, int))


def _number(
    text: str, what: str, fits: Callable[[float], bool], kind: Callable[[str], float] = float
) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f'"{text}" is not {what}')
    return value


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


def open_traverses(
    sources: Sequence[Path],
    args: argparse.Namespace,
    origin: GeoOrigin | None = None,
    bits: int = 0,
    purpose: str = 'map',
) -> list[Traverse]:
    """The sources that the command line names; what NavSatFix says is about the first's origin.

    `bits`: those of a map, see `TraverseOptions`; all sources are read as the one that uses most.
    `purpose`: see `read_source`.
    """
    if args.trajectory is not None and len(sources) > 1:
        raise VprError('--trajectory belongs to one bag; build a map of one, or use a topic')
    traverses: list[Traverse] = []
    for source in sources:
        options = TraverseOptions(
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
            origin=origin,
            bits=bits,
            purpose=purpose,
        )
        traverses.append(open_traverse(source, options))
        origin = origin or traverses[-1].origin
    for traverse in traverses:
        traverse.depth.raise_to(max(t.depth.bits for t in traverses))
    return traverses


def tell_notes(path: Path, notes: Sequence[str]) -> None:
    """What the user should know of a source, on the error output."""
    note(*(f'{path}: {line}' for line in notes))
