# SPDX-License-Identifier: Apache-2.0
"""A map in parts: each traverse is built by a worker, into a journal of its own, then all joined.

The choice of places begins anew with each traverse, so that they may be built in any order, by any
process. What a worker has done stays in its journal: who repeats it goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ashtkd_ros
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of, sha256_of_parts
from ashtkd_ros.mapping.build import Builder, MapOptions
from ashtkd_ros.mapping.journal import Journal, JournalInUse
from ashtkd_ros.maps.thumbnails import make_thumbnail
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.text import reason_of
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

_PATIENCE_S, _PAUSE_S = 60.0, 0.2


@dataclass(frozen=True)
class Part:
    """The order for one traverse, which a worker on any machine can carry out.

    `source`: path and options of the traverse; `bits`: its bit depth at least; `model`, `sha256`
    and `providers`: of the network; `out`: of the part's journal; `key`: what it must be about;
    `folder`: in which relative paths are meant; `code` and `numbers`: see `code_here` and
    `numbers_of`.
    """

    source: tuple[Path, TraverseOptions]
    bits: int
    options: MapOptions
    model: Path
    sha256: str
    providers: tuple[str, ...]
    out: Path
    key: str
    folder: str
    code: str
    numbers: str


@dataclass(frozen=True)
class Built:
    """What a worker tells: counts of images, see `Builder`, and `Traverse.findings`.

    `error`: why it failed, in one line; empty if it did not.
    """

    counts: dict[str, int]
    similar: int
    findings: dict[str, object]
    error: str = ''


def build_part(part: Part) -> Built:
    """Build the places of a part; VprErrors become the `error`."""
    try:
        builder = _opened(part)
        journal = _journal_of(builder, part.out)
        try:
            builder.run(journal)
        finally:
            journal.close()
    except VprError as error:
        return Built({}, 0, {}, str(error))
    return Built(dict(builder.counts), builder.similar, builder.traverses[0].findings())


def _opened(part: Part) -> Builder:
    """The builder of a part; VprError with the machine's name where it would build another."""
    with contextlib.suppress(OSError):  # then relative paths are missing
        os.chdir(part.folder)
    path, options = part.source
    try:
        embedder = _embedder(part.model, part.providers, part.sha256)
        traverse = open_traverse(path, options)
        traverse.depth.raise_to(part.bits)
        builder = Builder([traverse], embedder, part.options, on_one_core=True)
    except (VprError, OSError) as error:
        why = str(error) if isinstance(error, VprError) else f'{path}: {reason_of(error)}'
        raise VprError(f'on {_machine()}: {why}; {_SHARED}') from error
    if code_here() != part.code:
        why = 'ashtkd_ros is another version there; install the same on all machines'
    elif embedder.hash != part.sha256:
        why = f'{part.model} is another network there; {_SHARED}'
    elif numbers_of(embedder, builder) != part.numbers:
        why = 'the network gives other numbers there; install the same libraries on machines '
        why += 'with the same processor, and let all use the CPU: '
        why += '--providers CPUExecutionProvider'
    elif key_of(builder) != part.key:
        why = f'{path} is another recording there; {_SHARED}'
    else:
        return builder
    raise VprError(f'on {_machine()}: {why}')


_SHARED = 'workers need the same files under the same paths as this machine'


def _machine() -> str:
    return platform.node() or 'a machine without a name'


@lru_cache(maxsize=1)
def _embedder(model: Path, providers: tuple[str, ...], _: str) -> Embedder:
    """A worker's network, which it keeps for the next part."""
    return Embedder(model, providers, num_threads=1)


@lru_cache(maxsize=1)
def code_here() -> str:
    """Checksum of the code of this package."""
    folder = Path(ashtkd_ros.__file__).parent
    files = sorted(folder.rglob('*.py'))
    return sha256_of_parts(
        b for f in files for b in (str(f.relative_to(folder)).encode(), f.read_bytes())
    )


def numbers_of(embedder: Embedder, builder: Builder) -> str:
    """Checksum of what becomes of a fixed picture here: thumbnail, descriptor, local features.

    Other libraries, providers or processors may round otherwise.
    """
    height, width = (3 * side for side in embedder.preprocessing.size)
    noise = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3) * 37 % 251
    picture = noise.astype(np.uint8)
    look = builder.look(embedder.resize(picture), 'RGB')
    local = b'' if look.local is None else look.local.tobytes()
    return sha256_of_parts([make_thumbnail(picture, 'RGB'), look.descriptor.tobytes(), local])


def key_of(builder: Builder) -> str:
    """Checksum of what a builder is to build."""
    return sha256_of(json.dumps(builder.key, sort_keys=True, default=str).encode())


def _journal_of(builder: Builder, out: Path) -> Journal:
    """The journal of a part; a worker that died elsewhere may still hold it for a while."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return Journal(out, builder.key, builder.embedder.dimensions, builder.local)
        except JournalInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)


def build_in_parts(
    builder: Builder, journal: Journal, work: Callable[[Sequence[Part]], Iterable[Built]]
) -> None:
    """As `Builder.run`, by workers: `work` gives what `build_part` returns of each part, in order.

    VprError where a worker failed.
    """
    begin, known = _state_of(journal)
    singles = [
        Builder([traverse], builder.embedder, builder.options)
        for traverse in builder.traverses[begin:]
    ]
    parts = _parts_of(builder, journal, singles, begin)
    total = sum(t.count for t in builder.traverses)
    done = sum(t.count for t in builder.traverses[:begin])
    with tqdm(total=total, initial=done, desc='map', unit='frame', delay=2, disable=None) as bar:
        for number, (single, part, built) in enumerate(
            zip(singles, parts, work(parts), strict=True), begin
        ):
            if built.error:
                raise VprError(built.error)
            source = _journal_of(single, part.out)
            try:
                _join(builder, journal, number, source, built, known)
            finally:
                source.close()
            bar.update(builder.traverses[number].count)
            known = 0
            single.traverses[0].adopt(built.findings)
    journal.flush()


def _state_of(journal: Journal) -> tuple[int, int]:
    """The traverse that the journal ends in, and how many places of it are there."""
    if journal.last is None:
        return 0, 0
    number = journal.last['place']['traverse']
    return number, sum(e['place']['traverse'] == number for e in journal.entries())


def _parts_of(
    builder: Builder, journal: Journal, singles: Sequence[Builder], begin: int
) -> list[Part]:
    embedder = builder.embedder
    numbers = numbers_of(embedder, builder)
    return [
        Part(
            (traverse.path, traverse.options),
            traverse.depth.bits,
            single.options,
            embedder.path,
            embedder.hash,
            embedder.options.providers,
            journal.part(number),
            key_of(single),
            os.getcwd(),
            code_here(),
            numbers,
        )
        for number, single in enumerate(singles, begin)
        for traverse in single.traverses
    ]


def _join(
    builder: Builder, journal: Journal, number: int, source: Journal, built: Built, known: int
) -> None:
    """Add the places of traverse `number` from the journal of its part, but for `known` ones."""
    counts, similar = Counter(builder.counts), builder.similar
    if source.count < known:
        raise _lost(journal)
    descriptors, local = source.descriptors() if source.count else [], source.local()
    for place, entry in enumerate(source.entries()):
        if place == known - 1:  # what was counted before this traverse
            counts, similar = _before(journal, entry)
        if place < known:
            continue
        picture = entry['place']['thumbnail']
        if picture:
            journal.add_thumbnail(journal.count, source.thumbnail(place))
        entry['place'] |= {'id': journal.count, 'traverse': number}
        entry['counts'] = dict(_sum(counts, entry['counts']))
        entry['similar'] += similar
        rows = None if local is None else local.rows([place])[0]
        journal.add(entry, np.array(descriptors[place]), rows)
    builder.counts, builder.similar = _sum(counts, built.counts), similar + built.similar


def _before(journal: Journal, entry: dict) -> tuple[Counter, int]:
    """What the journal had counted before the traverse of its last place, which is `entry`."""
    last = journal.last
    if last['cursor'] != entry['cursor']:
        raise _lost(journal)
    counts = Counter(last['counts'])
    counts.subtract(entry['counts'])
    return counts, last['similar'] - entry['similar']


def _lost(journal: Journal) -> VprError:
    return VprError(
        f'{journal.folder}: holds places that are not found again; move it elsewhere and call '
        'build_map again'
    )


def _sum(first: Counter, second: dict[str, int]) -> Counter:
    """Both together, in the order in which one worker would have come across them."""
    counts = Counter(first)
    counts.update(second)
    return counts
