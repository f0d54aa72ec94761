# SPDX-License-Identifier: Apache-2.0
"""What was done with a map since it was built: entries of `built.history` in map.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

HISTORY = 'history'  # in `built`
KEPT = 100  # entries; older ones go
_MOST, _LONGEST = 1000, 1000  # entries of a map that is read; characters
_TEXTS, _COUNTS = {'what', 'arguments'}, {'places', 'pictures'}
_KEYS = _TEXTS | _COUNTS | {'when'}
_WHEN = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', re.ASCII)


def check_history(entries: object) -> None:
    """ValueError where `built.history` is not a list of such entries as `noted` makes."""
    if not isinstance(entries, list) or len(entries) > _MOST:
        raise ValueError(f'{HISTORY} is not a list of at most {_MOST} entries')
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not _KEYS <= set(entry) <= {*_KEYS, 'result'}:
            raise ValueError(
                f'entry {number} of {HISTORY} does not have {", ".join(sorted(_KEYS))}'
            )
        for key in (*_TEXTS, 'result'):
            text = entry.get(key, '')
            if not isinstance(text, str) or len(text) > _LONGEST:
                raise ValueError(f'{key} of entry {number} of {HISTORY} is not a short text')
        if not (isinstance(entry['when'], str) and _WHEN.fullmatch(entry['when'])):
            raise ValueError(f'when of entry {number} of {HISTORY} is not a time')
        for key in _COUNTS:
            if not _is_pair(entry[key]):
                raise ValueError(f'{key} of entry {number} of {HISTORY} is not two counts')


def noted(
    built: Mapping[str, Any],
    what: str,
    arguments: str,
    places: tuple[int, int],
    pictures: tuple[int, int],
    result: str = '',
) -> dict[str, Any]:
    """`built` of map.yaml with one entry more; of many the latest stay.

    `what`: name of the command; `places` and `pictures`: how many before and after; `result`: what
    came of it, in words.
    """
    entry = {
        'what': what,
        'arguments': _cut(arguments),
        'when': datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
        'places': list(places),
        'pictures': list(pictures),
    }
    entry |= {'result': _cut(result)} if result else {}
    return {**built, HISTORY: [*built.get(HISTORY, []), entry][-KEPT:]}


def history_line(built: Mapping[str, Any]) -> str:
    """The history in a line; empty without one."""
    entries = built.get(HISTORY, [])
    if not entries:
        return ''
    last = entries[-1]
    before, after = last['places']
    times = 'once' if len(entries) == 1 else f'{len(entries)} times'
    return f'changed {times}, last {last["when"]}: {last["what"]}, {before} to {after} places'


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f'{text[: _LONGEST - 1]}…'


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(n) is int and 0 <= n < 2**40 for n in value)
    )
