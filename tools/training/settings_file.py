# SPDX-License-Identifier: Apache-2.0
"""A settings file in YAML → plain values, with those of the file that its `base` names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_text
from ashtkd_ros.text import reason_of

_LIMIT = 2**20  # bytes
_MOST_MERGED = 1000  # keys of one mapping; each `<<` of a mapping with `<<` could double them

_TAG = 'tag:yaml.org,2002:'
_DECIMAL = re.compile(r'[-+]?(0|[1-9][0-9]{0,999})')  # Python takes seconds for very long ones
_REAL = re.compile(
    r'[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?'
    r'|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)'
)


class _Refusal(yaml.MarkedYAMLError):
    """YAML that has no place in settings."""

    def __init__(self, problem: str, mark: yaml.Mark):
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """YAML of texts, decimal numbers, true, false, null, lists, mappings, aliases and `<<`.

    YAML 1.1 would read 12:30:45 as a number to the base of 60, 017 as one to the base of 8, and
    1e-3 as a text. A mapping that has a key twice, or one that is not a text, is refused.
    """

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        """The tag of a value: a decimal number, or what YAML says that is not a number or date."""
        tag = super().resolve(kind, value, implicit)
        if kind is not yaml.ScalarNode or not implicit[0]:
            return tag
        if _DECIMAL.fullmatch(value):
            return f'{_TAG}int'
        if _REAL.fullmatch(value):
            return f'{_TAG}float'
        return f'{_TAG}str' if tag.endswith((':int', ':float', ':timestamp')) else tag

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """The next node; refused if its kind is given by a tag such as !!binary."""
        event = self.peek_event()
        tag = getattr(event, 'tag', None)
        if tag is not None:
            text = f'{tag.replace(_TAG, "!!")} has no place in settings; remove it'
            raise _Refusal(text, event.start_mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """A mapping whose keys are all texts and differ."""
        node = super().compose_mapping_node(anchor)
        names, node.keys = set(), len(node.value)
        for key, value in node.value:
            if key.tag == f'{_TAG}merge':
                node.keys += _count_merged(value)
                if node.keys > _MOST_MERGED:
                    text = f'<< gives a mapping more than {_MOST_MERGED} keys; write them out'
                    raise _Refusal(text, key.start_mark)
            elif not isinstance(key, yaml.ScalarNode):
                raise _Refusal('a key is a list or mapping; write a name', key.start_mark)
            elif key.tag != f'{_TAG}str':
                text = f'the key {key.value} is not a text; correct it, or write it in quotes'
                raise _Refusal(text, key.start_mark)
            if key.value in names:
                raise _Refusal(f'{key.value} is given twice; remove one', key.start_mark)
            names.add(key.value)
        return node


def _count_merged(value: yaml.Node) -> int:
    """How many keys `<<` merges; what cannot be merged is refused."""
    nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
    for node in nodes:
        if not hasattr(node, 'keys'):
            raise _Refusal('<< needs a mapping; name one, such as *short', node.start_mark)
    return sum(node.keys for node in nodes)


def load_settings(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """What a settings file holds; what it leaves out comes from the file that its `base` names.

    `above`: the files that led here by their `base`. VprError where a file cannot be read, is not
    YAML, or leads back to itself.
    """
    if os.path.realpath(path) in map(os.path.realpath, above):
        raise VprError(f'{above[0]}: base: leads back to {path.name}; name another file')
    values = _parsed(path, above)
    if isinstance(values, dict) and 'base' in values:
        base = values.pop('base')
        if not isinstance(base, str) or not base or '\0' in base:
            raise VprError(
                f'{path}: base: must be the path of a settings file; it is {base!r:.60}'
            )
        return _merged(load_settings(path.parent / base, (*above, path)), values)
    return values


def _parsed(path: Path, above: tuple[Path, ...]) -> Any:
    try:
        return _Loader(read_text(path, _LIMIT)).get_single_data()
    except OSError as error:
        asked = f'{above[-1]}: base: ' if above else ''
        advice = 'name another file' if above else 'give another file'
        raise VprError(f'{asked}{path}: cannot be read ({reason_of(error)}); {advice}') from error
    except RecursionError:
        raise VprError(f'{path}: is nested too deeply; take out what is no setting') from None
    except _Refusal as error:
        line = error.problem_mark.line + 1
        raise VprError(f'{path}: line {line}: {error.problem}') from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        reason = ', '.join(filter(None, [error.context, error.problem]))
        raise VprError(f'{path}: is not YAML (line {line}: {reason}); correct it') from error
    except UnicodeDecodeError as error:
        raise VprError(f'{path}: is not UTF-8; save it as UTF-8') from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise VprError(
            f'{path}: is not YAML ({str(error).splitlines()[0]}); correct it'
        ) from error


def _merged(base: Any, changes: Any) -> Any:
    """`base` with `changes`: mappings are merged key by key, anything else is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: _merged(base.get(key), value) for key, value in changes.items()}
