# SPDX-License-Identifier: Apache-2.0
"""vpr_node as a process of its own, with its observer."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ashtkd_ros.cli.child_process import ChildProcess, child_process
from ashtkd_ros.ros.play.observer import NodeTopics, Observer

NODE_MODULE = 'ashtkd_ros.ros.node.vpr_node'


def node_command(
    namespace: str,
    parameters: Mapping[str, object],
    log_level: str = 'warn',
    module: str = NODE_MODULE,
) -> list[str]:
    """The command that starts a vpr_node in a namespace.

    `log_level`: the least severity of what it logs. `module`: another node in its place.
    """
    command = [sys.executable, '-m', module, '--ros-args']
    command += ['--log-level', log_level, '-r', f'__ns:={namespace}']
    for name, value in parameters.items():
        text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
        command += ['-p', f'{name}:={text}']  # ROS reads YAML, of which JSON is a part
    return command


@contextlib.contextmanager
def observed_node(
    compressed: bool, parameters: Mapping[str, object]
) -> Iterator[tuple[Observer, ChildProcess]]:
    """A vpr_node and its observer while the body runs; `compressed`: it takes CompressedImage.

    The namespace is one of this process's own, so that no other node of the domain is disturbed.
    The observer raises VprError as soon as it notices that the node has ended.
    """
    namespace = f'/replay_{os.getpid()}'
    transport, image = ('compressed', 'image/compressed') if compressed else ('raw', 'image')
    command = node_command(namespace, {**parameters, 'image_transport': transport})
    node = f'{namespace}/vpr_node'
    topics = NodeTopics(node, f'{namespace}/{image}', f'{node}/place')
    with (
        child_process('vpr_node', command) as process,
        contextlib.closing(Observer(topics, compressed, process.check)) as observer,
    ):
        yield observer, process
