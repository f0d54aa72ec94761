# SPDX-License-Identifier: Apache-2.0
"""Other names for the places of a map.

A name is more than a word: places of one name are neighbours, so that none is a rival of another
(`matcher.Neighbourhood`), and where no poses tell what is right, names do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import is_whole, read_rows
from ashtkd_ros.maps.description import encodable
from ashtkd_ros.maps.places import Places, Texts
from ashtkd_ros.maps.places_rows import with_columns
from ashtkd_ros.recognition.matcher import MatcherConfig, Neighbourhood
from ashtkd_ros.sampling import thin
from ashtkd_ros.text import counted, one_line

LONGEST_NAME = 256  # characters
_MOST_SHARED = 0.5  # of the places of a map, above which one name leaves too few rivals
_ASKED = 500  # places of one name that are looked at


def read_names(table: Path) -> dict[int, str]:
    """Number of the place → its new name, from a CSV with the columns id,label; VprError.

    A number may occur several times with the same name, as in an export with a row a picture.
    """
    rows = read_rows(table, ('id', 'label'))
    return named((row['id'], row['label'], f'{table}:{line}: ') for line, row in rows)


def parse_names(pairs: Iterable[str]) -> dict[int, str]:
    """Number of the place → its new name, from texts ID=NAME; VprError."""
    parts = [pair.partition('=') for pair in pairs]
    for number, equals, _ in parts:
        if not equals:
            raise VprError(
                f'"{one_line(number)[:80]}" is not of the form ID=NAME; write as 12="main gate"'
            )
    return named((number, name, '') for number, _, name in parts)


def named(rows: Iterable[tuple[str, str, str]]) -> dict[int, str]:
    """Number → name, from rows of number, name, and where they stand; VprError for a number that
    is none, or has two names. Spaces around a name have no part in it."""
    names: dict[int, str] = {}
    for text, name, where in rows:
        if not is_whole(text.strip()):
            raise VprError(
                f'{where}"{one_line(text)[:40]}" is not the number of a place, a whole number'
            )
        number, name = int(text), name.strip()
        if names.setdefault(number, name) != name:
            raise VprError(f'{where}place {number} has two names; give it one')
    return names


def relabelled(places: Places, names: Mapping[int, str]) -> Places:
    """The places with new names, each for all pictures of its place; an empty one clears it.

    VprError for a place that is not there, and for a new name that is too long or has characters
    that cannot be shown.
    """
    unknown = sorted(set(names) - places.first_rows.keys())
    if unknown:
        raise VprError(
            f'the map has no place {unknown[0]}; it has {counted(len(places.first_rows), "place")}'
            f', up to number {places.ids.max()}'
        )
    labels, ids = list(places.labels), places.ids.tolist()
    for row, (number, old) in enumerate(zip(ids, labels, strict=True)):
        name = names.get(number)
        if name is not None and name != _as_read(old):
            _check(number, name)
            labels[row] = name
    return with_columns(places, labels=Texts.of(labels))


def changes(before: Places, after: Places) -> dict[int, tuple[str, str]]:
    """Number of each place of which a name has changed → its old and its new one."""
    rows = zip(before.ids.tolist(), before.labels, after.labels, strict=True)
    return {number: (old, new) for number, old, new in rows if old != new}


def notes_on(before: Places, after: Places) -> list[str]:
    """What other names mean for the answers of the map, a line each."""
    changed = changes(before, after)
    old, new = (sorted({pair[k] for pair in changed.values()} - {''}) for k in (0, 1))
    joined, notes = _joined(after, new), []
    whole = len(after.first_rows)
    for name, count in joined.items():
        line = f'{count} places apart from each other are called "{one_line(name)}": they count '
        line += 'as neighbours, and as right for each other where no poses tell what is right'
        if count > _MOST_SHARED * whole:
            line += '; that is most of the map, so that little is left to tell an unknown place by'
        notes.append(f'{line}; give them names of their own if that is not meant')
    if joined != _joined(before, new) or _joined(before, old) != _joined(after, old):
        notes.append(
            'the confidence was fitted with the neighbours as they were; the command calibrate '
            'fits it anew'
        )
    return notes


def _joined(places: Places, names: Iterable[str]) -> dict[str, int]:
    """Of the names those that make neighbours of places which are none by themselves → places."""
    nameless = with_columns(places, labels=Texts.of([''] * len(places)))
    named, apart = (Neighbourhood(each, MatcherConfig()) for each in (places, nameless))
    rows = defaultdict(list)
    for row in places.first_rows.values():
        rows[places.labels[row]].append(row)
    found = {}
    for name in names:
        some = np.array(rows[name], np.int64)[thin(len(rows[name]), _ASKED)]
        if (named.among(some) & ~apart.among(some)).any():
            found[name] = len(rows[name])
    return found


def _as_read(name: str) -> str:
    """A name as a table gives it back that an export of the map has it in."""
    return encodable(name).replace('\r\n', '\n').replace('\r', '\n').strip()


def _check(number: int, name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise VprError(
            f'the name of place {number} has {len(name)} characters; give it {LONGEST_NAME} or '
            'fewer'
        )
    if one_line(name) != name:
        raise VprError(
            f'the name of place {number}, "{one_line(name)[:80]}", has characters that cannot be '
            'shown; leave them out'
        )
