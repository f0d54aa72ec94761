# SPDX-License-Identifier: Apache-2.0
"""The topic names that a node will use, resolved without a node: for launch files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import YAML_LIMIT, parse_yaml
from ashtkd_ros.files.reading import read_regular

COMPRESSED = '/compressed'
FULL_NAME = re.compile(r'(/[A-Za-z_]\w*)+', re.ASCII)  # of a topic or a node
_NAME = re.compile(r'(~/|/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)  # of a topic, in a namespace
TRANSPORTS = ('raw', 'compressed')
_TOPIC_RULE = re.compile(
    r'(?:(?P<node>(?!ros(?:topic|service):)[^/:~]+):)?(?:rostopic://)?(?P<name>[^:]+)'
)


def check_topic(name: str) -> str:
    """The full name of a topic; VprError where it is none."""
    if not FULL_NAME.fullmatch(name):
        raise VprError(f'"{name}" is not the name of a topic; write one such as /camera/image_raw')
    return name


def is_name(text: str) -> bool:
    """Whether a topic can have this name, which may be relative to a namespace."""
    return bool(_NAME.fullmatch(text))


def image_topics(compressed: bool, base: str, remapped: str = '') -> list[str]:
    """The topics on which a camera's images may be, the most likely one first.

    `base`: the resolved name of `image`; `remapped`: what `image/compressed` is remapped to, empty
    if no rule remaps it.
    """
    if not compressed:
        return [base]
    if remapped:
        return [remapped]
    return [base] if base.endswith(COMPRESSED) else [base + COMPRESSED, base]


@dataclass(frozen=True)
class NodeNames:
    """The names of a node that will be started with these remappings (FROM, TO)."""

    namespace: str
    node: str
    remappings: Sequence[tuple[str, str]]

    def expand(self, name: str) -> str:
        """The full name, with the namespace, before any remapping."""
        own = str(PurePosixPath('/', self.namespace, self.node))
        if name.startswith('~'):
            return own + '/' + name[1:].lstrip('/')
        return str(PurePosixPath('/', self.namespace, name))

    def remap(self, name: str) -> str:
        """The name in the ROS graph by the first rule that fits, as in rcl; '' if none fits."""
        wanted = self.expand(name)
        for before, after in self.remappings:
            rule = _TOPIC_RULE.fullmatch(before)
            if rule is None or rule['node'] not in (None, self.node):
                continue
            if self.expand(rule['name']) == wanted:
                return self.expand(after)
        return ''

    def resolve(self, name: str) -> str:
        """The name in the ROS graph."""
        return self.remap(name) or self.expand(name)

    def image_topics(self, transports: Iterable[str]) -> list[str]:
        """Every topic from which the node may take images with one of these transports."""
        base, remapped = self.resolve('image'), self.remap('image/compressed')
        topics = [image_topics(kind == 'compressed', base, remapped) for kind in transports]
        return list(dict.fromkeys(chain(*topics)))

    def image_transports(self, files: Iterable[str], before: Iterable[object] = ()) -> list[str]:
        """The values that parameters files, or `before`, may set `image_transport` to.

        The default if nothing sets it; every choice if a file cannot be read.
        """
        set_values = self.values_of('image_transport', files)
        if set_values is None:
            return list(TRANSPORTS)
        found = [t for t in TRANSPORTS if t in (*before, *set_values)]
        return found or [TRANSPORTS[0]]

    def values_of(self, parameter: str, files: Iterable[str]) -> list[object] | None:
        """What parameters files set a parameter of the node to, the last one counts; None if a
        file cannot be read."""
        found: list[object] = []
        for file in files:
            try:
                values = parse_yaml(read_regular(file, YAML_LIMIT))
            except (OSError, ValueError):
                return None
            found += _values_of(parameter, values, '', self._is_mine)
        return found

    def _is_mine(self, section: str) -> bool:
        """Whether a section of a parameters file is for the node; `*` and `**` mean as in rcl."""
        own = str(PurePosixPath('/', self.namespace, self.node))
        parts = {'**': '.*', '*': '[^/]+'}
        words = section.strip('/').split('/')
        return bool(
            re.fullmatch('/?' + '/'.join(parts.get(w) or re.escape(w) for w in words), own)
        )


def parse_remappings(text: str) -> list[tuple[str, str]]:
    """Remapping rules FROM:=TO, separated by spaces, as pairs; VprError if one is not valid."""
    rules = [tuple(word.split(':=')) for word in text.split()]
    for rule in rules:
        if len(rule) != 2 or not all(rule):
            raise VprError(f'remappings has "{":=".join(rule)}"; write each rule as FROM:=TO')
    return rules


def _values_of(
    name: str, table: object, section: str, mine: Callable[[str], bool]
) -> Iterator[object]:
    if not isinstance(table, dict):
        return
    for key, inner in table.items():
        if key == 'ros__parameters':
            if mine(section) and isinstance(inner, dict) and name in inner:
                yield inner[name]
        else:
            yield from _values_of(name, inner, f'{section}/{key}', mine)
