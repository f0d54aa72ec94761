# SPDX-License-Identifier: Apache-2.0
"""What the nodes of a robot's cameras are started with, by a launch or by `vpr_trial`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePosixPath

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_yaml
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.ros.topic_names import is_name, parse_remappings
from ashtkd_ros.text import one_line

# What --show-args and --help say of them, with their defaults.
NODE_ARGUMENTS = (
    ('image_topic', 'image', 'topic of the images; without a leading / it is in the namespace'),
    (
        'cameras',
        '',
        'names of cameras, separated by commas, such as front,rear; each camera has a node in a '
        'namespace of its name. In other arguments, {camera} stands for the name; the topic '
        'initialpose stays in the namespace of the robot',
    ),
    ('namespace', '', 'namespace of every node; empty: none'),
    (
        'remappings',
        '',
        'further remappings FROM:=TO, separated by spaces; they go before all others',
    ),
    (
        'use_sim_time',
        '',
        'true: take the time from /clock; empty: left to the parameters file, else false',
    ),
    ('log_level', 'info', 'lowest severity that is logged: debug, info, warn, error or fatal'),
)
_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number'}
_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
_NAME_FORM = 'a name has only letters, digits and _, and begins with a letter'
_TOPIC_FORM = 'a topic has a name such as /camera/image_raw'
_WORDS = {'true': True, '1': True, 'false': False, '0': False}


class NodeArguments:
    """The values that arguments have, by `value(name)`; VprError where one cannot be what it is.

    Where `camera` is a name, it replaces {camera}.
    """

    def __init__(self, value: Callable[[str], str]):
        self._value = value

    def text(self, name: str, camera: str = '') -> str:
        """A value as it is given."""
        value = self._value(name)
        return value.replace('{camera}', camera) if camera else value

    def path(self, name: str, camera: str = '') -> str:
        """A path, with `~` and variables replaced."""
        try:
            return expand_path(self.text(name, camera))
        except VprError as error:
            raise VprError(f'{name} is {error}') from error

    def is_true(self, name: str) -> bool:
        """A value that is true or false."""
        text = self.text(name)
        if text.strip().lower() not in _WORDS:
            raise VprError(f'{name} is "{text}"; it must be true or false')
        return _WORDS[text.strip().lower()]

    def value(self, name: str, default: object, camera: str = '') -> object:
        """A value of the default's type, which is bool, int, float, str or a tuple of texts."""
        text, kind = self.text(name, camera), type(default)
        if kind is tuple:
            return [word.strip() for word in text.split(',')]
        if kind is str:
            return text
        try:
            given = parse_yaml(text.encode()) if kind is bool else kind(text)
        except ValueError:
            given = None
        if type(given) is not kind or not math.isfinite(given):
            raise VprError(f'{name} is "{text}"; it must be {_KINDS[kind]}')
        return given

    def cameras(self) -> list[str]:
        """Names of the cameras; one empty name where none has a name. VprError where all of them
        would have the same images."""
        words = (word.strip() for word in self.text('cameras').split(','))
        names, topic = [word for word in words if word], self.text('image_topic')
        for name in names:
            if not is_name(name) or name.startswith(('/', '~')):
                raise VprError(f'cameras has "{one_line(name)}"; {_NAME_FORM}')
        if len(set(names)) < len(names):
            raise VprError(f'cameras is {",".join(names)}; name each camera once')
        if len(names) > 1 and topic.startswith('/') and '{camera}' not in topic:
            raise VprError(
                f'image_topic is {topic}, which is the same for all cameras; leave out the first /'
            )
        return names or ['']

    def namespace(self, camera: str = '') -> str:
        """The namespace of a camera's node, relative to that of an outer launch unless it begins
        with /; VprError where it is none."""
        given = self.text('namespace')
        if given.strip('/') and not is_name(given.rstrip('/')):
            raise VprError(f'namespace is "{one_line(given)}"; {_NAME_FORM}')
        return str(PurePosixPath(given, camera)) if given or camera else ''

    def log_level(self) -> str:
        """The lowest severity that is logged."""
        given = self.text('log_level')
        if given.lower() not in _LEVELS:
            raise VprError(f'log_level is "{one_line(given)}"; it must be {" or ".join(_LEVELS)}')
        return given

    def remappings(self, camera: str) -> list[tuple[str, str]]:
        """The rules of a camera's node, the first that fits is taken: the topic of its images
        comes after the user's own; what is localised is the robot, not the camera."""
        rules, topic = parse_remappings(self.text('remappings', camera)), 'image_topic'
        for before, after in rules:
            if before.startswith('__'):
                raise VprError(f'remappings has "{before}:={after}"; set namespace or cameras')
            if not is_name(after):
                raise VprError(f'remappings has "{before}:={one_line(after)}"; {_TOPIC_FORM}')
        if not is_name(self.text(topic, camera)):
            raise VprError(f'{topic} is "{one_line(self.text(topic, camera))}"; {_TOPIC_FORM}')
        rules.append(('image', self.text(topic, camera)))
        robot = [('initialpose', str(self.robot() / 'initialpose'))] if camera else []
        return [*rules, *robot]

    def robot(self) -> PurePosixPath:
        """The namespace of all cameras."""
        return PurePosixPath('/', self.namespace())
