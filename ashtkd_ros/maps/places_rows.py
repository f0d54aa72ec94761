# SPDX-License-Identifier: Apache-2.0
"""Other columns of places made of columns: some of their rows, several after each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ashtkd_ros.maps.places import Places, Texts


def some_rows(places: Places, rows: np.ndarray) -> Places:
    """The pictures of these rows, int64 (K,), in this order; their places keep their numbers."""
    numbers = {name: getattr(places, name)[rows] for name in Places.NUMBERS}
    texts = {name: _some_texts(getattr(places, name), rows) for name in Places.TEXTS}
    return Places(**numbers, **texts)


def joined(parts: Sequence[Places]) -> Places:
    """All pictures of all parts, at least one part, after each other."""
    numbers = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Places.NUMBERS
    }
    texts = {}
    for name in Places.TEXTS:
        columns = [getattr(part, name) for part in parts]
        lengths = np.concatenate([column.lengths for column in columns])
        blob = np.concatenate([column.blob for column in columns])
        texts[name] = Texts(blob, np.cumsum(lengths, dtype=np.int64))
    return Places(**numbers, **texts)


def with_columns(places: Places, **columns: np.ndarray | Texts) -> Places:
    """The same places with other values in these columns, named as those of `Places`."""
    kept = {name: getattr(places, name) for name in (*Places.NUMBERS, *Places.TEXTS)}
    return Places(**{**kept, **columns})


def with_one_name(places: Places) -> Places:
    """The same places, of which all pictures have one name: that of the first that has one."""
    if not places.has_experiences or not places.labels.lengths.any():
        return places
    labels, first = list(places.labels), {}
    for number, label in zip(places.ids.tolist(), labels, strict=True):
        first[number] = first.get(number) or label
    names = [first[number] for number in places.ids.tolist()]
    return places if names == labels else with_columns(places, labels=Texts.of(names))


def _some_texts(texts: Texts, rows: np.ndarray) -> Texts:
    lengths = texts.lengths[rows]
    ends = np.cumsum(lengths, dtype=np.int64)
    # The byte of the old blob for each byte of the new one.
    shift = np.repeat(texts.ends[rows] - ends, lengths)
    return Texts(texts.blob[np.arange(len(shift)) + shift], ends)
