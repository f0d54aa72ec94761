# SPDX-License-Identifier: Apache-2.0
"""YAML and JSON of any origin: plain values within limits, or a ValueError that says why not."""

from __future__ import annotations

import json
from collections import Counter

import yaml

from ashtkd_ros.text import one_line

YAML_LIMIT = 2**24  # bytes; a table of traverses and settings is far smaller
_YAML_DEPTH, _YAML_EVENTS = 32, 500_000
_TWICE = '{} occurs twice in one table'
_LONGEST_NUMBER = 400  # characters; YAML's base 60 takes minutes for long ones


def parse_yaml(data: bytes) -> object:
    """The plain values that YAML holds; ValueError that says what is wrong.

    Aliases are refused because they let a kilobyte stand for a gigabyte. Deep nesting and a name
    that occurs twice in one table are refused as well.
    """
    if len(data) > YAML_LIMIT:
        raise ValueError(f'it holds more than {YAML_LIMIT} bytes')
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    try:
        text, depth = data.decode('utf-8'), 0
        for number, event in enumerate(yaml.parse(text, Loader=loader)):
            if number > _YAML_EVENTS:
                raise ValueError(f'it holds more than {_YAML_EVENTS} values')
            if isinstance(event, yaml.AliasEvent):
                raise ValueError('it has an alias')
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _YAML_DEPTH:
                raise ValueError('it is nested too deeply')
        loading = loader(text)
        node = loading.get_single_node()
        _check_nodes(node)
        return None if node is None else loading.construct_document(node)
    except UnicodeDecodeError as error:
        raise ValueError('it is not UTF-8') from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # PyYAML raises these too when it converts values.
        raise ValueError(f'it is not YAML of plain values: {one_line(str(error))}') from error
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def _check_nodes(node: yaml.Node | None) -> None:
    """ValueError for a name that occurs twice in one table, for merged tables and long numbers."""
    if isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
            if name in names or key.tag.endswith(':merge'):
                raise ValueError(_TWICE.format(one_line(str(name))[:40]))
            names.add(name)
            _check_nodes(key)
            _check_nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_nodes(value)
    elif isinstance(node, yaml.ScalarNode):
        number = node.tag.rpartition(':')[2] in ('int', 'float', 'timestamp')
        if number and len(node.value) > _LONGEST_NUMBER:
            raise ValueError('it has a number of too many digits')


def parse_json(text: str) -> object:
    """The values that JSON holds; ValueError for bad JSON, NaN, huge numbers and deep nesting.

    A name that occurs twice in one table is refused as well.
    """
    numbers = {'parse_constant': _no_number, 'parse_float': _finite, 'parse_int': _whole}
    try:
        return json.loads(text, object_pairs_hook=_table, **numbers)
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        times = Counter(name for name, _ in pairs)
        twice = next(name for name, _ in pairs if times[name] > 1)
        raise ValueError(_TWICE.format(one_line(twice)[:40]))
    return table


def _no_number(text: str) -> float:
    raise ValueError(f'{text} is not a number that can be used')


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) < 1e300 else _no_number(text[:20])


def _whole(text: str) -> int:
    return int(text) if len(text) < 20 else _no_number(text[:20])
