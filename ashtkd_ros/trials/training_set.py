# SPDX-License-Identifier: Apache-2.0
"""Hard cases of trials as a set of training pictures: images/, index.csv and how to use them.

The format is that of the sets that tools/training reads: file, place, role, order. The place of a
picture is GROUP/PLACE: places of one group lie near each other and may show the same, so they are
never taken as different (rule "tour").
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import cannot_write, resolved, whole_folder
from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT, fault
from ashtkd_ros.trials.hard_cases import NO_PLACE, HardCase, HardOptions, hard_cases
from ashtkd_ros.trials.recorded_pictures import MapPictures, images_of
from ashtkd_ros.trials.trial_maps import KnownMap
from ashtkd_ros.trials.trial_report import TrialReport

COLUMNS = ('file', 'place', 'role', 'order', 'kind', 'trial', 'minute', 'confidence', 'why')
_MOST_OF_A_PLACE = 3  # pictures of the map
_SHORT_SIDE, _QUALITY = 480, 92
_SIZE = (224, 224)
_NEAR_M = 20.0  # places nearer to each other are of one group
_USE = """Hard cases of outdoor trials, with the pictures of their right places from the map.

index.csv: file, place (group/place), role (query: from a trial; database: from the map), order.
Use it in a file like config/train/student.yaml, under `sources`:

  - kind: sets
    path: THE FOLDER THAT HOLDS THIS ONE
    only: [{name}]
    positives: {{{name}: tour}}
"""


@dataclass
class Exported:
    """Cases by kind, how many pictures of the map, and why cases were left out."""

    cases: Counter[str] = field(default_factory=Counter)
    map_pictures: int = 0
    places: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class _Row:
    """A picture; `key`: number of the map and of its place, or the name of the place."""

    file: str
    key: tuple[int, int | str]
    role: str
    told: tuple[object, ...]


def export_training_set(
    folder: Path, reports: Iterable[TrialReport], options: HardOptions
) -> Exported:
    """Write a new folder, whole or not at all.

    VprError where it exists, cannot be written, or there is no case. One report and one image are
    in memory at a time, if `reports` are made one after the other.
    """
    check_new(folder)
    target = resolved(folder)
    try:
        with whole_folder(target) as draft:
            (draft / 'images').mkdir(parents=True)
            writer = _Writer(draft)
            for report in reports:
                writer.add(report, options)
            if not writer.done.cases:
                raise VprError(f'{folder}: {_why_none(writer.done.left_out)}')
            writer.finish(target.name)
            return writer.done
    except OSError as error:
        raise cannot_write(folder, error, 'the training set') from error


def check_new(folder: Path) -> None:
    """VprError where something is there already, or nothing can be."""
    try:
        os.lstat(resolved(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(folder, error, 'the training set') from error
    raise VprError(f'{folder}: exists already; give a new folder')


def _why_none(left_out: Counter[str]) -> str:
    """Why there is no case, and what would make some."""
    why = ', '.join(f'{n} because {reason}' for reason, n in left_out.items())
    advice = 'raise --margin or --confidence'
    if left_out[NO_PLACE]:
        advice = 'drive with satellite fixes or mark landmarks, or name another --truth'
    left = f' ({why} left out)' if why else ''
    return f'there is no hard case, so nothing is written{left}; {advice}'


class _Writer:
    def __init__(self, folder: Path):
        self.done = Exported()
        self._folder, self._rows = folder, []
        self._maps: list[Path] = []
        self._at: dict[tuple[int, int | str], tuple[float, float] | None] = {}
        self._written: set[str] = set()

    def add(self, report: TrialReport, options: HardOptions) -> None:
        """Write the images of a trial's cases, and of their places."""
        cases, left_out = hard_cases(report, options)
        self.done.left_out += left_out
        main = report.source.maps.main
        if main is None or not cases:
            return
        pictures, number = MapPictures(main), self._number(report.source.maps.path)
        by_answer = {case.judged.answer: case for case in cases}
        for answer, image in images_of(report.source.recording, by_answer):
            case = by_answer[answer]
            small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
            if why := fault(small, MAX_BLUR, MIN_LIGHT):
                self.done.left_out[why] += 1
            elif self._places(case, main, number, pictures):
                self._case(case, image, report, number, main)
            else:
                self.done.left_out['the map has no picture of the right place'] += 1

    def _number(self, path: Path) -> int:
        if path not in self._maps:
            self._maps.append(path)
        return self._maps.index(path)

    def _case(
        self, case: HardCase, image: np.ndarray, report: TrialReport, number: int, main: KnownMap
    ) -> None:
        one = case.judged
        file = f'images/{_plain(report.name)}_{len(self._rows):06d}.jpg'
        self._write(file, image)
        sure = '' if one.place is None else f'{one.confidence:.4f}'
        told = (case.kind, report.name, f'{one.seconds / 60:.4f}', sure, one.why)
        key = _key(number, case.right[0], main, case.expected)
        self._rows.append(_Row(file, key, 'query', told))
        self.done.cases[case.kind] += 1

    def _places(self, case: HardCase, main: KnownMap, number: int, pictures: MapPictures) -> bool:
        """Write pictures of the right place, and of what it was taken for; whether there is one
        of the right place."""
        written = [
            self._picture(row, main, number, pictures, case.expected)
            for row in case.right[:_MOST_OF_A_PLACE]
        ]
        if any(written) and case.taken_for is not None:
            self._picture(case.taken_for, main, number, pictures, '')
        return any(written)

    def _picture(
        self, row: int, main: KnownMap, number: int, pictures: MapPictures, expected: str
    ) -> bool:
        file = f'images/map{number}_{row:06d}.jpg'
        if file in self._written:
            return True
        image = pictures.of_row(row)
        if image is None:
            return False
        self._write(file, image)
        self._written.add(file)
        key = _key(number, row, main, expected)
        x, y = main.places.positions[row, :2].tolist()
        self._at.setdefault(key, None if x != x else (x, y))
        self._rows.append(_Row(file, key, 'database', ('map', '', '', '', '')))
        self.done.map_pictures += 1
        return True

    def _write(self, file: str, image: np.ndarray) -> None:
        scale = _SHORT_SIDE / min(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        bgr = np.ascontiguousarray(image[..., ::-1])
        data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        (self._folder / file).write_bytes(data.tobytes())

    def finish(self, name: str) -> None:
        """Write the table and how to use it."""
        groups = _groups(self._at)
        with (self._folder / 'index.csv').open('w', newline='', encoding='utf-8') as file:
            rows = csv.writer(file, lineterminator='\n')
            rows.writerow(COLUMNS)
            for order, row in enumerate(self._rows):
                number, place = row.key
                part = f'p{place:06d}' if isinstance(place, int) else _plain(place)
                label = f'{_plain(self._maps[number].name)}_{groups[row.key]}/{part}'
                rows.writerow((row.file, label, row.role, order, *row.told))
        (self._folder / 'README.txt').write_text(_USE.format(name=name), encoding='utf-8')
        self.done.places = len({row.key for row in self._rows})


def _key(number: int, row: int, main: KnownMap, expected: str) -> tuple[int, int | str]:
    return number, expected.casefold() if expected else int(main.places.ids[row])


def _groups(at: dict[tuple[int, int | str], tuple[float, float] | None]) -> dict:
    """Place → number of its group: places nearer than 20 m, in steps from one to the next, are of
    one group; a place without a position is one of its own."""
    groups: dict[tuple[int, int | str], int] = {}
    keys = list(at)
    for key in keys:
        if key in groups:
            continue
        groups[key], waiting = len(set(groups.values())), [key]
        while waiting:
            here = waiting.pop()
            for other in keys:
                if other not in groups and _are_near(here, other, at):
                    groups[other] = groups[here]
                    waiting.append(other)
    return groups


def _are_near(a: tuple, b: tuple, at: dict) -> bool:
    if a[0] != b[0] or at[a] is None or at[b] is None:
        return False
    return float(np.hypot(at[a][0] - at[b][0], at[a][1] - at[b][1])) < _NEAR_M


def _plain(name: str) -> str:
    return re.sub(r'[^\w.-]+', '_', name)[:80].strip('.') or '_'
