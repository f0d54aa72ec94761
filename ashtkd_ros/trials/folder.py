# SPDX-License-Identifier: Apache-2.0
"""The folder of a trial, DATE_TIME_NAME, and what lies where in it; nothing there is replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_yaml
from ashtkd_ros.files.reading import is_file, is_folder, read_regular
from ashtkd_ros.files.writing import cannot_write, make_output_folder, resolved, write_text
from ashtkd_ros.text import reason_of
from ashtkd_ros.trials.sheet import Sheet
from ashtkd_ros.trials.trial_log import TrialLog

TRIALS = '~/vpr_trials'  # where trials lie if nothing else is said
SHEET, CONFIGURATION, CHECKS = 'trial.yaml', 'configuration.yaml', 'checks.json'
MARKS, EVENTS, BAG, REPORT = 'marks.jsonl', 'events.jsonl', 'bag', 'report.html'
_NAME = re.compile(r'[\w.-]{1,80}')
_LIMIT = 2**20  # bytes of a sheet or a configuration
_MOST_BAGS = 1000


@dataclass(frozen=True)
class TrialFolder:
    """A trial on the disk.

    trial.yaml: the sheet, written by hand as well. configuration.yaml: what was started, with
    checksums. checks.json: the check list before the start. bag, bag_2, ...: recordings, a further
    one each time the recorder had to be started again. marks.jsonl, events.jsonl: see TrialLog.
    """

    path: Path

    @classmethod
    def create(cls, root: Path, sheet: Sheet, now: datetime) -> TrialFolder:
        """A new folder in `root`, named by the time and the sheet's name.

        A folder that is there already is left alone and the new one gets a number. Raises VprError
        where the name is none for a folder, or nothing can be written.
        """
        check_name(sheet.name)
        root = resolved(Path(root))
        make_output_folder(root)
        stem = f'{now:%Y-%m-%d_%H-%M-%S}_{sheet.name}'
        for number in range(1, _MOST_BAGS):
            path = root / (stem if number == 1 else f'{stem}_{number}')
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise cannot_write(path, error, 'the trial') from error
            trial = cls(path)
            trial.write_sheet(sheet)
            return trial
        raise VprError(f'{root / stem}: exists already; give the trial another name')

    @classmethod
    def open(cls, path: Path) -> TrialFolder:
        """Raise VprError where there is no trial."""
        trial = cls(resolved(Path(path)))
        if not is_folder(trial.path):
            raise VprError(f'{path}: there is no such folder; name the folder of a trial')
        if not is_file(trial.path / SHEET):
            raise VprError(
                f'{path}: is not a trial, it has no {SHEET}; name the folder of a trial'
            )
        return trial

    @property
    def marks(self) -> TrialLog:
        """What the operator marked."""
        return TrialLog(self.path / MARKS)

    @property
    def events(self) -> TrialLog:
        """What happened to the processes and sensors."""
        return TrialLog(self.path / EVENTS)

    def sheet(self) -> Sheet:
        """The sheet as it is now; VprError where it is damaged."""
        return Sheet.parsed(self._read(SHEET), self.path / SHEET)

    def write_sheet(self, sheet: Sheet) -> None:
        """Write the sheet, whole or not at all."""
        self._write(SHEET, sheet.text())

    def configuration(self) -> dict:
        """What was started; empty where that was not written down. VprError if it is damaged."""
        if not is_file(self.path / CONFIGURATION):
            return {}
        values = self._read(CONFIGURATION)
        if not isinstance(values, dict):
            raise VprError(f'{self.path / CONFIGURATION}: is damaged; remove it to go on without')
        return values

    def write_configuration(self, values: Mapping[str, object]) -> None:
        """Write down what is started: plain values only."""
        self._write(CONFIGURATION, yaml.safe_dump(dict(values), sort_keys=False))

    def bags(self) -> list[Path]:
        """The recordings in order."""
        found = (self._bag(number) for number in range(1, _MOST_BAGS))
        return [bag for bag in found if bag.exists()]

    def next_bag(self) -> Path:
        """Where the next recording goes: nothing is there yet."""
        for number in range(1, _MOST_BAGS):
            if not self._bag(number).exists():
                return self._bag(number)
        raise VprError(f'{self.path}: has {_MOST_BAGS - 1} recordings; begin another trial')

    def _bag(self, number: int) -> Path:
        return self.path / (BAG if number == 1 else f'{BAG}_{number}')

    def _read(self, name: str) -> object:
        path = self.path / name
        try:
            return parse_yaml(read_regular(path, _LIMIT))
        except (OSError, ValueError) as error:
            raise VprError(f'{path}: cannot be read ({reason_of(error)}); mend it') from error

    def _write(self, name: str, text: str) -> None:
        try:
            write_text(self.path / name, text)
        except OSError as error:
            raise cannot_write(self.path / name, error) from error


def check_name(name: str) -> None:
    """VprError for a name that a trial cannot have."""
    if not _NAME.fullmatch(name) or name[0] in '.-':
        raise VprError(
            f'"{name}" is no name for a trial; use letters, digits, "_", "-" and ".", at most 80'
        )


def trials_in(root: Path) -> list[TrialFolder]:
    """The trials in a folder, oldest first, by their names."""
    try:
        folders = sorted(p for p in Path(root).iterdir() if is_file(p / SHEET))
    except OSError as error:
        raise VprError(f'{root}: cannot be read ({reason_of(error)}); name a folder') from error
    return [TrialFolder(p.resolve()) for p in folders]
