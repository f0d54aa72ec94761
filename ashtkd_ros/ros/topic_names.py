# SPDX-License-Identifier: Apache-2.0
"""Names of topics as a node comes to them, worked out without a node: for launch files."""

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
TRANSPORTS = ('raw', 'compressed')
_TOPIC_RULE = re.compile(
    r'(?:(?P<node>(?!ros(?:topic|service):)[^/:~]+):)?(?:rostopic://)?(?P<name>[^:]+)'
)


def image_topics(compressed: bool, base: str, remapped: str = '') -> list[str]:
    """Where a camera's images may be, the first place first.

    `base`: what `image` has become; `remapped`: what `image/compressed` has been remapped to.
    """
    if not compressed:
        return [base]
    if remapped:
        return [remapped]
    return [base] if base.endswith(COMPRESSED) else [base + COMPRESSED, base]


@dataclass(frozen=True)
class Names:
    """A node to be, and the remappings that it is given."""

    namespace: str
    node: str
    remappings: Sequence[tuple[str, str]]

    def expanded(self, name: str) -> str:
        """With its namespace, before any remapping."""
        own = str(PurePosixPath('/', self.namespace, self.node))
        if name.startswith('~'):
            return own + '/' + name[1:].lstrip('/')
        return str(PurePosixPath('/', self.namespace, name))

    def remapped(self, name: str) -> str:
        """As it is in the graph if a rule is for it, the first of them, as in rcl; else ''."""
        wanted = self.expanded(name)
        for before, after in self.remappings:
            rule = _TOPIC_RULE.fullmatch(before)
            if rule is None or rule['node'] not in (None, self.node):
                continue
            if self.expanded(rule['name']) == wanted:
                return self.expanded(after)
        return ''

    def resolved(self, name: str) -> str:
        """As it is in the graph."""
        return self.remapped(name) or self.expanded(name)

    def images(self, transports: Iterable[str]) -> list[str]:
        """Every topic from which the node may take images."""
        base, remapped = self.resolved('image'), self.remapped('image/compressed')
        found = [image_topics(kind == 'compressed', base, remapped) for kind in transports]
        return list(dict.fromkeys(chain(*found)))

    def transports(self, files: Iterable[str], before: Iterable[object] = ()) -> list[str]:
        """What parameters files, or values `before` them, may set `image_transport` to.

        The default where nothing does; every choice where a file cannot be read.
        """
        found = list(before)
        for file in files:
            try:
                values = parse_yaml(read_regular(file, YAML_LIMIT))
            except (OSError, ValueError):
                return list(TRANSPORTS)
            found += _values_of('image_transport', values, '', self._is_mine)
        return [t for t in TRANSPORTS if t in found] or [TRANSPORTS[0]]

    def _is_mine(self, section: str) -> bool:
        """Whether a section of a parameters file is for the node: `*` and `**` as in rcl."""
        own = str(PurePosixPath('/', self.namespace, self.node))
        parts = {'**': '.*', '*': '[^/]+'}
        words = section.strip('/').split('/')
        return bool(
            re.fullmatch('/?' + '/'.join(parts.get(w) or re.escape(w) for w in words), own)
        )


def parse_remappings(text: str) -> list[tuple[str, str]]:
    """Rules FROM:=TO, a space between them; VprError for what is none."""
    rules = [tuple(word.split(':=')) for word in text.split()]
    for rule in rules:
        if len(rule) != 2 or not all(rule):
            raise VprError(f'remappings has "{":=".join(rule)}", which is no FROM:=TO')
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
