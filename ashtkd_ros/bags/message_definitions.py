# SPDX-License-Identifier: Apache-2.0
"""The definitions of message types, as text in the form of .msg files, for what writes bags."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore

from ashtkd_ros.files.reading import read_text

_TYPE = re.compile(r'([A-Za-z]\w*)/(?:msg/)?([A-Za-z]\w*)')
_FIELD = re.compile(r'^[ \t]*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]\n]*\])?[ \t]+[A-Za-z]', re.M)
_SIMPLE = re.compile(r'bool|byte|char|float(32|64)|w?string|u?int(8|16|32|64)')
# Simple types, where message classes of Python call them otherwise.
_NAMES = {'double': 'float64', 'float': 'float32', 'boolean': 'bool', 'octet': 'byte'}
_OF_CLASS = re.compile(r'(?:sequence<)?([\w/]+)(?:<(\d+)>)?(\[\d+\])?(?:, (\d+))?(>)?')
_NOTHING = 'structure_needs_at_least_one_member'  # the field of a class without fields
_LINE = f'{"=" * 80}\nMSG: '
_LIMIT = 2**20  # bytes of a .msg file
# Type → its fields with their types, as `get_fields_and_field_types` of its class tells them.
FieldsOf = Callable[[str], Mapping[str, str] | None]


class MessageDefinitions:
    """Finds definitions: in ROS's share folders, else in rosbags, else from the class of a type.

    `prefixes`: where ROS packages are installed; None: those in AMENT_PREFIX_PATH.
    """

    def __init__(self, fields_of: FieldsOf = lambda _: None, prefixes: list[Path] | None = None):
        given = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
        self._prefixes = [Path(p) for p in given if p] if prefixes is None else prefixes
        self._fields_of = fields_of
        self._store: Any = None

    def text(self, kind: str) -> str | None:
        """The definition of `pkg/msg/Name` with those of all types in it; None: not known."""
        found: dict[str, str] = {}
        waiting = [_short(kind)]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            own = self._own_text(name)
            if own is None:
                return None
            found[name] = own
            package = name.partition('/')[0]
            inner = sorted({t for t in _FIELD.findall(own) if not _SIMPLE.fullmatch(t)})
            waiting += [_short(t) if '/' in t else f'{package}/{t}' for t in inner]
        first, *others = found.items()
        return first[1] + ''.join(f'\n{_LINE}{name}\n{own}' for name, own in others)

    def _own_text(self, name: str) -> str | None:
        """The definition of `pkg/Name` alone."""
        if not (parts := _TYPE.fullmatch(name)):
            return None
        package, base = parts.groups()
        for prefix in self._prefixes:
            try:
                return read_text(prefix / 'share' / package / 'msg' / f'{base}.msg', _LIMIT)
            except (OSError, ValueError):
                continue
        full = f'{package}/msg/{base}'
        self._store = self._store or get_typestore(Stores.ROS2_JAZZY)
        if full in self._store.fielddefs:
            return self._store.generate_msgdef(full, ros_version=2)[0].partition(_LINE)[0]
        fields = self._fields_of(full)
        return None if fields is None else _text_of_class(fields)


def _short(name: str) -> str:
    """pkg/msg/Name → pkg/Name, as definitions name types."""
    return re.sub('^([^/]*)/msg/', r'\1/', name)


def _text_of_class(fields: Mapping[str, str]) -> str | None:
    """As a .msg file: `sequence<pkg/Name, 3>` there is `pkg/Name[<=3]`; None: not understood."""
    lines = []
    for name, kind in fields.items():
        if name == _NOTHING:
            continue
        if not (parts := _OF_CLASS.fullmatch(kind)):
            return None
        base, longest, size, most, is_sequence = parts.groups()
        text = _NAMES.get(base, base) + (f'<={longest}' if longest else '')
        if is_sequence:
            size = f'[<={most}]' if most else '[]'
        lines.append(f'{text}{size or ""} {name}\n')
    return ''.join(lines)
