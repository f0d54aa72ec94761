# SPDX-License-Identifier: Apache-2.0
"""All that the folder of a trial holds, read; what is damaged is told in a note, not an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.reading import is_file, read_regular
from ashtkd_ros.text import counted, reason_of
from ashtkd_ros.trials.bag_watch import BagWatch
from ashtkd_ros.trials.folder import CHECKS, TrialFolder
from ashtkd_ros.trials.recorded_tracks import RecordedTracks
from ashtkd_ros.trials.recording import Recording, first_message_ns, read_bags
from ashtkd_ros.trials.sheet import Sheet
from ashtkd_ros.trials.stretches import Stretch, silences
from ashtkd_ros.trials.timeline import Event, timeline
from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.trial_log import LogEntry, TrialLog
from ashtkd_ros.trials.trial_maps import TrialMaps
from ashtkd_ros.trials.vocabulary import ENDED, MAP_SWAPPED, STARTED

_LIMIT = 2**20  # bytes of checks.json
_Value = TypeVar('_Value')


@dataclass
class TrialSource:
    """What was read of a trial.

    `marks`: when, in seconds since the beginning, and what; `events`: see `timeline`; `pauses`:
    when something was silent; `checks`: checks.json, empty without one.
    """

    folder: TrialFolder
    sheet: Sheet
    configuration: dict
    checks: dict
    clock: TrialClock
    maps: TrialMaps
    recording: Recording
    marks: list[tuple[float, LogEntry]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    pauses: list[Stretch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the trial was, by its log, or by what was recorded."""
        known = [e.seconds for e in self.events if e.live] + [when for when, _ in self.marks]
        return max([*known, self.recording.end_s, 0.0])


def read_trial(folder: TrialFolder, given_map: Path | None = None) -> TrialSource:
    """Read a trial; VprError only where the map that is given cannot be read."""
    notes: list[str] = []
    sheet = _or_note(folder.sheet, Sheet(folder.path.name), notes)
    configuration = _or_note(folder.configuration, {}, notes)
    events, marks = (_entries(log, notes) for log in (folder.events, folder.marks))
    bags = folder.bags()
    clock = TrialClock.of([*events, *marks], configuration, first_message_ns(bags))
    maps = TrialMaps.of(configuration, given_map)
    main = maps.main
    tracks = RecordedTracks(main and main.origin, main.map.info.frame if main else '')
    recording = Recording(tracks=tracks)
    watch = BagWatch(clock, recording.cameras)
    read_bags(recording, bags, configuration, clock, watch)
    live = [*events, *recording.events]
    maps.use(recording.maps, any(e.kind == MAP_SWAPPED and 'checksum' in e.values for e in live))
    source = TrialSource(
        folder, sheet, configuration, _checks(folder, notes), clock, maps, recording
    )
    source.pauses = silences(recording)
    source.events = timeline(clock, live, watch.events, source.pauses)
    source.marks = _in_order(clock, [*marks, *recording.marks])
    source.notes = [*notes, *recording.notes, *maps.notes, *_doubts(source, live, marks, bags)]
    return source


def _or_note(read: Callable[[], _Value], instead: _Value, notes: list[str]) -> _Value:
    try:
        return read()
    except VprError as error:
        notes.append(str(error))
        return instead


def _entries(log: TrialLog, notes: list[str]) -> list[LogEntry]:
    entries, damaged = _or_note(log.read, ([], 0), notes)
    if damaged:
        notes.append(f'{log.path.name}: {counted(damaged, "damaged line")} skipped')
    return entries


def _in_order(clock: TrialClock, marks: list[LogEntry]) -> list[tuple[float, LogEntry]]:
    """Marks in order, each once: they are in a file, and in the recording as well."""
    once = {(m.kind, m.monotonic_ns): m for m in marks if clock.holds(m)}
    return sorted(((clock.of_entry(m), m) for m in once.values()), key=lambda pair: pair[0])


def _checks(folder: TrialFolder, notes: list[str]) -> dict:
    path = folder.path / CHECKS
    if not is_file(path):
        return {}
    try:
        values = parse_json(read_regular(path, _LIMIT).decode())
    except (OSError, ValueError) as error:
        notes.append(f'{CHECKS}: cannot be read ({reason_of(error)})')
        return {}
    return values if isinstance(values, dict) else {}


def _doubts(
    source: TrialSource, live: list[LogEntry], marks: list[LogEntry], bags: list[Path]
) -> list[str]:
    """What the user should know of a trial that is not whole."""
    recording, notes = source.recording, []
    kinds = {entry.kind for entry in live}
    if not live:
        notes.append('nothing was told live: minutes are counted from the first recorded message')
    elif STARTED not in kinds:
        notes.append('the log does not tell when the trial began: with its first entry or message')
    if live and ENDED not in kinds:
        notes.append('the log has no end: the launch was killed, or the power went')
    if not bags:
        notes.append('nothing was recorded: there is no bag')
    elif not recording.answers:
        notes.append('the recording holds no answers of a node')
    if bags and not recording.images:
        notes.append('the recording holds no images')
    if strange := sum(not source.clock.holds(entry) for entry in [*live, *marks]):
        notes.append(f'the log: {counted(strange, "entry", "entries")} of another time skipped')
    if source.clock.was_set:
        notes.append(f"the system's clock was set {counted(source.clock.was_set, 'time')}")
    return notes
