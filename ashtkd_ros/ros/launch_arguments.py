# SPDX-License-Identifier: Apache-2.0
"""Arguments of the launch files; one that makes no sense ends the launch with one line."""

from __future__ import annotations

import re
import sys
from argparse import Action
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitutions import LaunchConfiguration

from ashtkd_ros.ros.node_arguments import NodeArguments
from ashtkd_ros.text import one_line

# What launch_ros calls what SetRemap, PushRosNamespace and SetParameter have set.
OUTER_REMAPPINGS, OUTER_NAMESPACE, OUTER_PARAMETERS = (
    'ros_remaps',
    'ros_namespace',
    'global_params',
)


def declare(
    arguments: Iterable[tuple[str, SomeSubstitutionsType | None, str]],
) -> list[DeclareLaunchArgument]:
    """Launch arguments of (name, default, description); without a default it must be given."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in arguments
    ]


class OptionArguments:
    """The options of a command as arguments of a launch, named with _ for -.

    An option's default is the argument's, and a flag is true or false.
    """

    def __init__(self, options: Iterable[Action]):
        self._options = list(options)

    def declared(self) -> list[tuple[str, str, str]]:
        """(name, default, description) of each argument; see `declare`."""
        return [(o.dest, _default_of(o), _description_of(o)) for o in self._options]

    def command_line(self, arguments: LaunchArguments) -> list[str]:
        """The words for the command; what is empty or left at its default makes none."""
        words = []
        for option in self._options:
            name = f'--{option.dest.replace("_", "-")}'
            if option.nargs == 0:
                words += [name] if arguments.is_true(option.dest) else []
                continue
            read = arguments.path if option.type is Path else arguments.text
            value = read(option.dest)
            words += [f'{name}={value}'] if value not in ('', _default_of(option)) else []
        return words


def _default_of(option: Action) -> str:
    if option.nargs == 0:
        return 'false'
    if isinstance(option.default, float):
        return f'{option.default:g}'
    return '' if option.default is None else str(option.default)


def _description_of(option: Action) -> str:
    """The help text of an option as that of an argument; the launch itself tells the default."""
    told = re.sub(r'--([a-z-]+)', lambda o: o[1].replace('-', '_'), option.help % vars(option))
    text, _, default = told.removesuffix(')').partition(' (default: ')
    if option.nargs == 0:
        return f'true: {text}'
    return text if _default_of(option) else f'{text}; empty: {default}'


class LaunchArguments(NodeArguments):
    """The values that the arguments of a launch have; what is raised ends the launch."""

    def __init__(self, context: LaunchContext):
        super().__init__(lambda name: LaunchConfiguration(name).perform(context))
        self._context = context

    def tell_misspelt(self, known: Iterable[str], file: str) -> None:
        """A warning for each argument on the command line that is nearly one of `known`: the
        launch itself ignores what nobody declares.

        `file`: the launch file; nothing is told where another one, whose arguments those may be,
        was launched and includes it.
        """
        names = set(known)
        if Path(file).name not in {Path(word).name for word in sys.argv}:
            return
        for word in self._context.argv:
            name = word.partition(':=')[0]
            near = [] if name in names else get_close_matches(name, names, 1, 0.8)
            if near:
                text = f'argument "{one_line(name)}" has no effect; did you mean {near[0]}?'
                get_logger('launch').warning(text)

    def outer(self, kind: str) -> list | str:
        """What the launch that includes this one has set: one of the names above."""
        return self._context.launch_configurations.get(kind) or ''

    def robot(self) -> PurePosixPath:
        """The namespace of all cameras."""
        return PurePosixPath('/', self.outer(OUTER_NAMESPACE), self.namespace())
