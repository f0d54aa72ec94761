# SPDX-License-Identifier: Apache-2.0
"""vpr_node's command line: its help, and arguments that are not for ROS."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import fields

from ashtkd_ros.ros.node.parameters import TYPE_NAMES, Parameters, describe
from ashtkd_ros.text import one_line

_HELP = ('-h', '--help')
_INTRODUCTION = """\
usage: vpr_node [-h] [--ros-args [-p NAME:=VALUE]... [-r FROM:=TO]... [--params-file FILE]]

Recognises the place in each camera image and publishes it on ~/place. It needs a map, which
build_map makes from images, and a camera, whose topic is remapped from `image`.

examples:
  ros2 run ashtkd_ros vpr_node --ros-args -p map_path:=MAP -r image:=/camera/image_raw
  ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP image_topic:=/camera/image_raw

parameters (* can be changed while the node is active):"""


def wants_help(args: Sequence[str]) -> bool:
    """Whether the command line, program name first, asks for help."""
    return any(word in _HELP for word in args[1:])


def help_text() -> str:
    """What `vpr_node --help` prints: what it does, examples, and every parameter."""
    lines = [_INTRODUCTION]
    for spec in fields(Parameters):
        live = ' *' if spec.metadata['live'] else ''
        lines.append(f'  {spec.name} ({TYPE_NAMES[type(spec.default)]}){live}')
        lines += textwrap.wrap(
            describe(spec), 96, initial_indent=' ' * 6, subsequent_indent=' ' * 6
        )
    return '\n'.join(lines)


def refusal_of(args: Sequence[str]) -> str:
    """Why the command line, program name first, is refused: an argument that is not for ROS.

    Empty if there is none.
    """
    for_ros = False
    for word in args[1:]:
        if word == '--ros-args':
            for_ros = True
        elif for_ros and word == '--':
            for_ros = False
        elif not for_ros:
            return (
                f'unknown argument "{one_line(word)}"; write parameters as '
                '--ros-args -p NAME:=VALUE, see vpr_node --help'
            )
    return ''
