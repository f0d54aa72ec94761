# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 folder or one of its files; the files count where metadata.yaml says otherwise.

The first bytes of messages and files show how they are compressed, so that a metadata.yaml that is
missing, damaged or edited leads to a note and to nothing else.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePath

from ashtkd_ros.bags.bag_names import METADATA, ROS2_ENDINGS, storage_files
from ashtkd_ros.bags.channels import (
    CDR,
    ROS1,
    Channel,
    Unreadable,
    first_names,
    type_name,
    unreadable,
)
from ashtkd_ros.bags.mcap import MAGIC as MCAP_MAGIC
from ashtkd_ros.bags.mcap import McapFile
from ashtkd_ros.bags.sqlite import MAGIC as SQLITE_MAGIC
from ashtkd_ros.bags.sqlite import SqliteFile
from ashtkd_ros.bags.sqlite_journals import (
    holds_all,
    lacks_journal,
    may_belong,
    note_of,
    orphans,
    recovered,
    side_files,
)
from ashtkd_ros.bags.unpacking import ZSTD, unpacked_file, unpacking_folder
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import YAML_LIMIT, parse_yaml
from ashtkd_ros.files.reading import open_regular, read_regular
from ashtkd_ros.text import one_line, reason_of

_INFORMATION = 'rosbag2_bagfile_information'
Part = SqliteFile | McapFile


def misnamed(path: Path) -> str:
    """For an error: files at a path that are of a bag by their contents but not by their names."""
    kinds = {SQLITE_MAGIC[:8]: '.db3', MCAP_MAGIC: '.mcap', b'#ROSBAG ': '.bag'}
    ending_of = {}
    with contextlib.suppress(OSError):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not file.is_file() or file.name.endswith((*ROS2_ENDINGS, '.bag')):
                continue
            with open(open_regular(file), 'rb') as opened:
                start = opened.read(8)
            packed = any(part in file.name.lower() for part in ('.db3', '.mcap'))
            if start in kinds or (start.startswith(ZSTD) and packed):
                ending_of[file.name] = kinds.get(start, '.db3.zstd or .mcap.zstd')
    if not ending_of:
        return ''
    names = ', '.join(dict.fromkeys(ending_of.values()))
    files = first_names(ending_of)
    return f'; by its contents {files} is a file of a bag: let its name end in {names}'


class Ros2Reader:
    """An open rosbag2.

    `channels`: those of all files, one for each topic and type; `start` and `end`: of the
    receive times in ns, `end` after the last one; `notes`: what the user should know. Raises
    VprError if nothing can be read.
    """

    def __init__(self, path: Path):
        self.path, self.notes = path, []
        self._parts: list[Part] = []
        self._scratch: Path | None = None
        try:
            with contextlib.ExitStack() as stack:
                self._open(stack)
        except BaseException:
            self.close()
            raise
        filled = _filled(self._parts)
        self.start = min((p.start for p in filled), default=0)
        self.end = max((p.end for p in filled), default=0)
        self.in_order = _in_order(self._parts)
        counts: Counter[Channel] = Counter()
        for channel in (c for p in self._parts for c in p.channels.values()):
            counts[channel._replace(count=0)] += channel.count
        self.channels = [c._replace(count=n) for c, n in counts.items()]
        self.notes += unreadable(dict(enumerate(self.channels)))
        if self._metadata is not None:
            self.notes += _disagreements(self._metadata, self.channels)

    def _open(self, stack: contextlib.ExitStack) -> None:
        self._metadata = None
        if not self.path.is_dir():
            self._parts = [self._opened(self.path, stack)]
            self.notes += self._parts[0].notes
            return
        self._metadata = self._read_metadata()
        files, unlisted = self._files(_names(self._metadata))
        failures = []
        for file in files + unlisted:
            try:
                part = self._opened_or_copy(file, files + unlisted, stack)
            except Unreadable as error:
                failures.append(error)
                continue
            self._parts.append(part)
            if file in unlisted and self._metadata is not None and files:
                self._check_unlisted(file, part)
            self.notes += [f'{one_line(file.name)} {note}' for note in part.notes]
        if not self._parts:
            raise failures[0]
        self.notes += [f'a file is skipped: {failure}' for failure in failures]
        if unlisted:
            self._parts.sort(key=lambda p: p.start)
        if self._metadata is None and not _in_order(self._parts):
            names = first_names(p.name.name for p in self._parts)
            self.notes.append(f'{names} overlap in time, and all are read; is one a copy?')

    def _opened_or_copy(self, file: Path, known: list[Path], stack: contextlib.ExitStack) -> Part:
        """Read a file, or, if it is damaged, the packed or unpacked copy beside it."""
        try:
            return self._opened(file, stack)
        except Unreadable as error:
            bare = file.name.removesuffix('.zstd')
            twin = file.with_name(bare if file.name != bare else f'{bare}.zstd')
            if twin in known or not twin.is_file():
                raise
            try:
                part = self._opened(twin, stack)
            except Unreadable:
                raise error from None
            self.notes.append(f'{error}; {one_line(twin.name)} is read in its place')
            return part

    def _opened(self, file: Path, stack: contextlib.ExitStack) -> Part:
        """The reader for a file, by its contents and not by its name."""
        try:
            with open(open_regular(file), 'rb') as opened:
                start = opened.read(len(MCAP_MAGIC))
            inner = file
            if start.startswith(ZSTD):
                inner = unpacked_file(file, self._unpacking_folder(stack))
                self._note(
                    f'is unpacked as a whole into {tempfile.gettempdir()} (TMPDIR) while it'
                )
                with inner.open('rb') as opened:
                    start = opened.read(len(MCAP_MAGIC))
            elif file.suffix == '.zstd' and start not in (MCAP_MAGIC, SQLITE_MAGIC[:8]):
                raise Unreadable(f'{file}: is cut off, or not a zstd file; copy it again')
            named_mcap = file.name.removesuffix('.zstd').endswith('.mcap')
            if start == MCAP_MAGIC or (named_mcap and start != SQLITE_MAGIC[:8]):
                return McapFile(inner, file)
            return self._sqlite(file, stack) if inner is file else SqliteFile(inner, file)
        except OSError as error:
            raise Unreadable(
                f'{file}: cannot be read ({reason_of(error)}); copy it again'
            ) from error

    def _sqlite(self, file: Path, stack: contextlib.ExitStack) -> SqliteFile:
        """The reader for a database, with the messages that its journals hold."""
        journals, lost = side_files(file), []
        if not journals:
            lost = orphans(file)
            journals = lost if len(lost) == 1 and may_belong(file, lost[0]) else []
        if journals:
            inner, notes = recovered(file, journals, self._unpacking_folder(stack))
            if not lost or holds_all(file, inner):
                found = SqliteFile(inner, file)
                found.notes += notes
                name = f' ({one_line(lost[0].name)}: was the file renamed?)' if lost else ''
                self._note(
                    f'has a journal of sqlite3 beside it{name} (the recorder was killed, or is '
                    f'still recording). It is merged into a copy in {tempfile.gettempdir()} '
                    '(TMPDIR) while the bag'
                )
                return found
        if lost:
            self._note(f'{note_of(lost)} until then, only the file')
        found = SqliteFile(file)
        if not lost and lacks_journal(file):
            name = one_line(file.name)
            found.notes.append(
                f'has {name}-shm beside it but no {name}-wal: was that left behind? It holds the '
                'last messages of a recorder that was killed'
            )
        return found

    def _note(self, text: str) -> None:
        if f'{text} is read' not in self.notes:
            self.notes.append(f'{text} is read')

    def _unpacking_folder(self, stack: contextlib.ExitStack) -> Path:
        """A new folder for one unpacked file."""
        if self._scratch is None:
            self._scratch = stack.enter_context(unpacking_folder())
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def _read_metadata(self) -> dict | None:
        """What metadata.yaml says; None and a note if it is missing or damaged."""
        try:
            values = parse_yaml(read_regular(self.path / METADATA, YAML_LIMIT))
            found = values.get(_INFORMATION) if isinstance(values, dict) else None
            if isinstance(found, dict):
                return found
            why = f'is damaged (it has no {_INFORMATION})'
        except FileNotFoundError:
            why = 'is missing (the recorder was killed?)'
        except (OSError, ValueError) as error:
            why = f'is damaged ({reason_of(error)})'
        self.notes.append(f'{METADATA} {why}; the files are read without it')
        return None

    def _files(self, names: Sequence[str]) -> tuple[list[Path], list[Path]]:
        """The files that metadata.yaml lists, in its order, then others; VprError without any."""
        present = {p.name: p for p in storage_files(self.path)}
        found = [self.path / n for n in names if n in present or (self.path / n).is_file()]
        stems = {p.name.removesuffix('.zstd') for p in found}
        others = [p for n, p in present.items() if n not in names]
        # The packed or unpacked copy of a file that is there holds nothing new.
        others = [p for p in others if p.name.removesuffix('.zstd') not in stems]
        bare = {p.name for p in others}
        others = [p for p in others if p.name.removesuffix('.zstd') not in bare - {p.name}]
        missing = [n for n in names if not (self.path / n).is_file()]
        if not found and not others:
            if missing:
                raise VprError(
                    f'{self.path}: {first_names(missing)} is missing, so there is not a bag'
                    f'{misnamed(self.path)}; put it back'
                )
            raise VprError(
                f'{self.path}: is not a bag; one holds .db3 or .mcap files{misnamed(self.path)}'
            )
        if missing:
            read = first_names(p.name for p in found + others)
            self.notes.append(
                f'{METADATA} lists {first_names(missing)}, which is missing; {read} is read'
            )
            return [], found + others
        return found, others

    def _check_unlisted(self, file: Path, part: Part) -> None:
        """Read a file that metadata.yaml does not list if no listed file has its times."""
        name = one_line(file.name)
        rest = [p for p in self._parts if p is not part]
        if any(part.start < p.end and p.start < part.end for p in rest):
            self._parts.remove(part)
            part.close()
            self.notes.append(
                f'{name} is skipped: {METADATA} does not list it, and its times are those of '
                'files that it lists'
            )
        else:
            self.notes.append(f'{name} is read as well, which {METADATA} does not list')

    def messages(
        self,
        topics: Collection[str],
        start: int | None = None,
        stop: int | None = None,
        lenient: bool = False,
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """(channel, receive time in ns, data), file after file, each in order of time.

        `lenient`: damaged parts are skipped, and `lost` has notes on them.
        """
        for part in self._parts:
            wanted = {
                number: channel
                for number, channel in part.channels.items()
                if channel.topic in topics and channel.encoding in (CDR, ROS1)
            }
            if wanted:
                for number, received, data in part.messages(wanted, start, stop, lenient):
                    yield wanted[number], received, data

    @property
    def lost(self) -> list[str]:
        """Notes on what was skipped while reading."""
        return [f'{one_line(p.name.name)} {p.lost}' for p in self._parts if p.lost]

    def close(self) -> None:
        """Close the files."""
        while self._parts:
            self._parts.pop().close()


def _filled(parts: Sequence[Part]) -> list[Part]:
    return [p for p in parts if p.end > p.start]


def _in_order(parts: Sequence[Part]) -> bool:
    """Whether times never go back from one file to the next."""
    return all(a.end <= b.start + 1 for a, b in pairwise(_filled(parts)))


def _names(metadata: dict | None) -> list[str]:
    """The files that metadata.yaml lists."""
    paths = (metadata or {}).get('relative_file_paths')
    if not isinstance(paths, list):
        return []
    names = [PurePath(p).name for p in paths if isinstance(p, str) and '\0' not in p]
    return list(dict.fromkeys(n for n in names if n))


def _topics_by_metadata(metadata: dict) -> dict[str, tuple[str, int]] | None:
    """Topic → type and count by metadata.yaml; None if it does not tell them."""
    try:
        found: dict[str, tuple[str, int]] = {}
        for row in metadata['topics_with_message_count']:
            topic, count = row['topic_metadata'], row['message_count']
            name = str(topic['name'])
            known = found.get(name, ('', 0))[1]
            found[name] = type_name(str(topic['type'])), known + int(count)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return found


def _disagreements(metadata: dict, channels: Sequence[Channel]) -> list[str]:
    """Notes on where metadata.yaml and the files differ."""
    said = _topics_by_metadata(metadata)
    if said is None:
        return [f'{METADATA} is damaged (its topics); the files are read without it']
    held: Counter[str] = Counter()
    types: dict[str, set[str]] = {}
    for channel in channels:
        held[channel.topic] += channel.count
        types.setdefault(channel.topic, set()).add(channel.type)
    faults = [
        f'{one_line(name)}: {count} messages by {METADATA}, {held[name]} in the files'
        for name, (_, count) in said.items()
        if count != held[name]
    ]
    faults += [
        f'{one_line(name)}: {count} messages in the files, unknown to {METADATA}'
        for name, count in held.items()
        if count and name not in said
    ]
    faults += [
        f'{one_line(name)}: {one_line(kind)} by {METADATA}, '
        f'{first_names(sorted(types[name]))} in the files'
        for name, (kind, _) in said.items()
        if name in types and kind not in types[name]
    ]
    if not faults:
        return []
    more = f'; and {len(faults) - 4} more' if len(faults) > 4 else ''
    return [f'the files are read, not {METADATA}: ' + '; '.join(faults[:4]) + more]
