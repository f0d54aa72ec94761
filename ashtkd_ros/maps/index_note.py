# SPDX-License-Identifier: Apache-2.0
"""What map.yaml says of the index of a map: its kind, why it was chosen, how well it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ashtkd_ros.maps.descriptor_file import DESCRIPTORS
from ashtkd_ros.maps.index_kinds import COMPRESSED, FLAT, KINDS

SEARCH = 'search'  # name of the entry in map.yaml
FLAT_NAME = 'IndexFlatIP'  # what `index` of map.yaml says of a flat index, since the first format
MOST_CANDIDATES, _LONGEST = 2**16, 4096


@dataclass(frozen=True)
class IndexNote:
    """Why an index is of its kind, and how well it finds what exact search finds.

    `why`: a line; `queries`: noisy copies of the map's own descriptors that exact search answers,
    `recall`: share of them that the index answers, too, see `index_recall`; `shortlist`:
    candidates that it looks at, 0 where all places are compared.
    """

    why: str
    recall: float = 1.0
    queries: int = 0
    shortlist: int = 0

    def __str__(self) -> str:
        if not self.shortlist:
            return f'exact; {self.why}'
        reached, looked = f'{100 * self.recall:.1f} %', f'{self.shortlist} candidates'
        of = f'({self.queries} noisy copies of its own descriptors)'
        return f'{looked}, finds {reached} of what exact search finds {of}; {self.why}'

    def table(self) -> dict[str, object]:
        """What `read_note` reads."""
        return asdict(self)


def index_entries(kind: str, note: IndexNote | None) -> dict[str, object]:
    """The entries of map.yaml that `read_note` reads."""
    name = {'index': FLAT_NAME if kind == FLAT else kind}
    return name if note is None else name | {SEARCH: note.table()}


def read_note(values: Mapping, sha256: Mapping) -> tuple[str, IndexNote | None]:
    """Kind and note of the index from the values of map.yaml; ValueError says what is wrong.

    `sha256`: checksum by name of file. Maps of older versions have no note; their index is flat.
    """
    name = values.get('index', FLAT_NAME)
    kind = FLAT if name == FLAT_NAME else name
    if kind not in KINDS or name == FLAT:
        raise ValueError(f'index is none of {FLAT_NAME}, {", ".join(COMPRESSED)}')
    if (kind != FLAT) != (DESCRIPTORS in sha256):
        raise ValueError(f'it has only one of a compressed index and a checksum of {DESCRIPTORS}')
    if SEARCH not in values:
        if kind != FLAT:
            raise ValueError(f'{SEARCH} is missing')
        return kind, None
    note = _checked(values[SEARCH])
    if (note.shortlist == 0) != (kind == FLAT):
        raise ValueError(f'shortlist of {SEARCH} is not that of an index of kind {kind}')
    return kind, note


def _checked(values: object) -> IndexNote:
    if not isinstance(values, dict) or set(values) != set(IndexNote('').table()):
        raise ValueError(f'{SEARCH} is not a table of why, recall, queries and shortlist')
    why, recall = values['why'], values['recall']
    if not (isinstance(why, str) and why.isprintable() and 0 < len(why) <= _LONGEST):
        raise ValueError(f'why of {SEARCH} is not a line of text')
    if not (type(recall) in (int, float) and 0 <= recall <= 1):
        raise ValueError(f'recall of {SEARCH} is not a number from 0 to 1')
    for name, most in (('queries', 2**30), ('shortlist', MOST_CANDIDATES)):
        if type(values[name]) is not int or not 0 <= values[name] <= most:
            raise ValueError(f'{name} of {SEARCH} is not a whole number from 0 to {most}')
    return IndexNote(**values)
