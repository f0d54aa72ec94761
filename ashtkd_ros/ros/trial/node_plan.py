# SPDX-License-Identifier: Apache-2.0
"""The vpr_node of one camera in a trial: its command, and the topics that it will use."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.files.reading import is_file
from ashtkd_ros.ros.node.given_parameters import given_parameters
from ashtkd_ros.ros.node_arguments import NodeArguments
from ashtkd_ros.ros.topic_names import NodeNames, parse_remappings

_MODULE, _NAME = 'ashtkd_ros.ros.node.vpr_node', 'vpr_node'
OF_EACH_NODE = ('~/place', '~/place_name', '~/pose', '~/vision_info')


@dataclass(frozen=True)
class NodePlan:
    """`ros_arguments`: what all nodes get, before what `arguments` say; see `vpr_trial`."""

    arguments: NodeArguments
    camera: str
    files: Sequence[str]
    ros_arguments: Sequence[str] = ()

    @cached_property
    def names(self) -> NodeNames:
        """The names of the node and its topics in the graph."""
        words = pairwise(self.ros_arguments)
        rules = ' '.join(after for word, after in words if word in ('-r', '--remap'))
        remappings = parse_remappings(rules) + self.arguments.remappings(self.camera)
        return NodeNames(str(self.arguments.robot() / self.camera), _NAME, remappings)

    @cached_property
    def parameters(self) -> dict[str, object]:
        """Those that are given as arguments."""
        return given_parameters(self.arguments, self.camera)

    @property
    def node(self) -> str:
        """The full name of the node."""
        return self.names.expand('~').rstrip('/')

    def command(self) -> list[str]:
        """How it is started."""
        command = [sys.executable, '-m', _MODULE]
        command += ['--ros-args', '--log-level', self.arguments.log_level()]
        command += ['-r', f'__node:={_NAME}', '-r', f'__ns:={self.names.namespace}']
        command += self.ros_arguments
        for file in self.files:
            command += ['--params-file', file]
        for name, value in self.parameters.items():
            # ROS reads YAML, of which JSON is a part
            command += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
        for before, after in self.arguments.remappings(self.camera):
            command += ['-r', f'{before}:={after}']
        return command

    def image_transports(self) -> list[str]:
        """Every transport that it may have."""
        if given := self.parameters.get('image_transport'):
            return [str(given)]
        files = [*self._outer('--params-file'), *self.files]
        outer = [value for value in self._outer('-p') if value.startswith('image_transport:=')]
        before = [value.partition(':=')[2] for value in outer]
        return list(self.names.image_transports(files, before))

    def image_topics(self) -> list[str]:
        """Every topic from which it may take images, the likeliest first."""
        return self.names.image_topics(self.image_transports())

    def path(self, parameter: str) -> str:
        """A path that is a parameter, as far as arguments and files tell; else empty."""
        if given := self.parameters.get(parameter):
            return str(given)
        found = self.names.values_of(parameter, [*self._outer('--params-file'), *self.files])
        return expand_path(str(found[-1])) if found and found[-1] else ''

    def _outer(self, flag: str) -> list[str]:
        return [after for word, after in pairwise(self.ros_arguments) if word == flag]

    def answer_topics(self) -> list[str]:
        """What it publishes and is recorded."""
        return [self.names.resolve(name) for name in OF_EACH_NODE]


def check_files(files: Sequence[str]) -> None:
    """VprError for a parameters file that is not there."""
    for file in files:
        if not is_file(file):
            raise VprError(
                f'params_file is {file}: no such file, or it cannot be read; correct the path'
            )
