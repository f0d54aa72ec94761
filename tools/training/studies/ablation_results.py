# SPDX-License-Identifier: Apache-2.0
"""Results of the ablation: right or wrong of every query, by row, seed, measure and set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_json
from tools.training.studies.paired_gap import Queries
from tools.training.studies.query_sets import AskedSet, group_of

Answered = dict[str, dict[str, np.ndarray]]  # measure → set → whether right, bool (Q,)


@dataclass
class Row:
    """A row, an entry a seed: its answers, and of what revision of the code and how long to make.

    `seconds`: of training and measuring.
    """

    seeds: list[Answered] = field(default_factory=list)
    revisions: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass
class Results:
    """All rows by name; `spots` and `digests`: of the sets' queries, see `AskedSet`."""

    spots: dict[str, list[str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def of(
        cls, row: str, asked: Mapping[str, AskedSet], revision: str = '', seconds: float = 0.0
    ) -> Results:
        """One seed of one row."""
        methods = dict.fromkeys(m for of in asked.values() for m in of.right)
        answered = {m: {name: of.right[m] for name, of in asked.items()} for m in methods}
        return cls(
            {name: of.spots for name, of in asked.items()},
            {name: of.digest for name, of in asked.items()},
            {row: Row([answered], [revision], [seconds])},
        )

    def extend(self, more: Results) -> None:
        """Add the seeds of more rows; VprError where their queries are others."""
        if self.digests and more.digests != self.digests:
            raise VprError(
                f'{", ".join(more.rows)}: measured by other queries than the rows before; remove '
                'its results.json; it will be measured again'
            )
        self.spots, self.digests = more.spots, more.digests
        for name, row in more.rows.items():
            kept = self.rows.setdefault(name, Row())
            kept.seeds += row.seeds
            kept.revisions += row.revisions
            kept.seconds += row.seconds

    @property
    def groups(self) -> dict[str, list[str]]:
        """Group → its sets."""
        found: dict[str, list[str]] = {}
        for name in self.spots:
            found.setdefault(group_of(name), []).append(name)
        return found

    def queries(self) -> Queries:
        """The spots of each group's queries, as `PairedGaps` takes them."""
        spots = {g: sum((self.spots[n] for n in names), []) for g, names in self.groups.items()}
        return Queries({group: np.array(names) for group, names in spots.items()})

    def right(self, row: str, measure: str) -> dict[str, np.ndarray] | None:
        """Group → bool (S, Q); None where a seed of the row has not this measure."""
        seeds = self.rows[row].seeds
        if not all(measure in seed for seed in seeds):
            return None
        return {
            group: np.stack([np.concatenate([s[measure][n] for n in names]) for s in seeds])
            for group, names in self.groups.items()
        }

    def to_json(self) -> str:
        """What `from_json` reads; answers are bits, in hexadecimal."""
        rows = {
            name: {**vars(row), 'seeds': [_packed(seed) for seed in row.seeds]}
            for name, row in self.rows.items()
        }
        return json.dumps({'rows': rows, 'digests': self.digests, 'spots': self.spots}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Results:
        """ValueError, KeyError, TypeError or AttributeError where the text is not of `to_json`."""
        values = parse_json(text)
        found = cls(values['spots'], values['digests'])
        counts = {name: len(spots) for name, spots in found.spots.items()}
        if not counts or not values['rows'] or set(counts) != set(found.digests):
            raise ValueError('it lacks rows or queries')
        for name, row in values['rows'].items():
            seeds = [_unpacked(seed, counts) for seed in row['seeds']]
            revisions, seconds = list(map(str, row['revisions'])), list(map(float, row['seconds']))
            if not seeds or not len(seeds) == len(revisions) == len(seconds):
                raise ValueError(f'{name} lacks seeds, revisions or seconds')
            found.rows[name] = Row(seeds, revisions, seconds)
        return found


def _packed(answered: Answered) -> dict[str, dict[str, str]]:
    return {
        measure: {name: np.packbits(right).tobytes().hex() for name, right in sets.items()}
        for measure, sets in answered.items()
    }


def _unpacked(values: dict[str, dict[str, str]], counts: dict[str, int]) -> Answered:
    """`counts`: queries of each set; ValueError where the bits are of another number."""
    answered: Answered = {}
    for measure, sets in values.items():
        if set(sets) != set(counts):
            raise ValueError(f'{measure} is of other sets')
        answered[measure] = {}
        for name, text in sets.items():
            data = np.frombuffer(bytes.fromhex(text), np.uint8)
            if len(data) != -(-counts[name] // 8):
                raise ValueError(f'{name} has another number of answers')
            answered[measure][name] = np.unpackbits(data, count=counts[name]).astype(bool)
    return answered
