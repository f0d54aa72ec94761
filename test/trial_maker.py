# SPDX-License-Identifier: Apache-2.0
"""Small trials for the tests: the town's dusk walk, driven past a map of its day, and faults.

    maker.make(root, 'dusk', dark=(10, 16), marks=[(12.0, WRONG, '')])

Seconds are those of the trial; the first image comes at second 1, the last one at second 42.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from bag_helpers import Record, image, odometry, write_bag

from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose import interpolate_pose
from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT, fault
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.recogniser import Recogniser, Recognition, least_confidence
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.sheet import Sheet
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import ENDED, STARTED

CAMERA, PLACE, INFO = '/camera/image_raw/compressed', '/vpr_node/place', '/vpr_node/vision_info'
T0, M0 = 1_800_000_000 * 10**9, 5_000 * 10**9  # of the system's clock and the steady one, ns
STEP, FIRST, LATENCY = 0.35, 1.0, 0.08  # seconds
Span = tuple[float, float]
NOT = (1e9, 1e9)


@dataclass(frozen=True)
class Faults:
    """Spans of seconds. `mirrored`: images show what the map does not; `shift`: fixes are 60 m too
    far north; `vague`: they are exact to 20 m; `silent`: the node answers nothing; `unplugged`: no
    images; `frozen`: the same image; `unrecorded`: a recorder was killed; `full`: a disk was."""

    dark: Span = NOT
    mirrored: Span = NOT
    shift: Span = NOT
    vague: Span = NOT
    no_fix: Span = NOT
    silent: Span = NOT
    unplugged: Span = NOT
    frozen: Span = NOT
    unrecorded: Span = NOT
    full: Span = NOT
    swapped_at: float = 1e9
    odom_frame: str = 'odom'
    odometry: bool = True


@dataclass
class TrialMaker:
    """Makes trials with one map; answers are made once an image."""

    map_folder: Path
    embedder: Embedder
    walk: Path
    origin: GeoOrigin
    _made: dict[tuple[int, str], tuple[bytes, Recognition | None]] = field(default_factory=dict)

    def __post_init__(self):
        place_map = PlaceMap.load(self.map_folder, self.embedder)
        self.lowest = least_confidence(place_map.info, -1.0, 0.99)
        self._recogniser = Recogniser(self.embedder, place_map, min_confidence=self.lowest)
        self.frames = read_source(self.walk)

    def make(
        self,
        root: Path,
        name: str,
        condition: str = 'dusk',
        events: Sequence[tuple[float, str, str]] = (),
        marks: Sequence[tuple[float, str, str]] = (),
        live: bool = True,
        configured: bool = True,
        **faults: object,
    ) -> TrialFolder:
        """A trial in a folder; `live`: whether anybody wrote a log."""
        faults = Faults(**faults)
        now = datetime(2026, 11, 28, 12, 0, len(list(root.glob('*'))) if root.exists() else 0)
        trial = TrialFolder.create(root, Sheet(name, condition), now)
        for at, kind, text in [(0.0, STARTED, 'begun'), *events, (43.0, ENDED, 'ended')]:
            if live:
                trial.events.append(entry(at, kind, text))
        for at, kind, text in marks:
            trial.marks.append(entry(at, kind, text))
        if configured:
            trial.write_configuration(self.configuration())
        records = [r for r in self.records(faults) if not _in(r.received - T0 / 1e9, faults.full)]
        for part in _parts(records, faults.unrecorded):
            write_bag(trial.next_bag(), records=part, storage='mcap')
        return trial

    def configuration(self) -> dict[str, object]:
        topics = {'camera': ['/camera/image_raw'], 'fix': '/fix', 'odom': '/odom'}
        topics |= {'place': [PLACE], 'diagnostics': '/diagnostics', 'vision_info': [INFO]}
        told = {'path': str(self.map_folder), 'sha256': map_checksum(self.map_folder)}
        started = {'started_ns': T0, 'started_monotonic_ns': M0}
        return {'version': 1, **started, 'topics': topics, 'map': told}

    def records(self, faults: Faults) -> list[Record]:
        """All messages of a drive."""
        found, count, last = [_info(0.5, str(self.map_folder), 1)], 0, None
        if faults.swapped_at < 1e6:
            found.append(_info(faults.swapped_at, '/somewhere/else', 2))
        for k in range(len(self.frames)):
            at = FIRST + STEP * k
            found += self._where(k, at, faults)
            if _in(at, faults.unplugged):
                continue
            shown = last if _in(at, faults.frozen) else k
            last = shown if shown is not None else k
            look = 'dark' if _in(at, faults.dark) else ''
            look = 'mirrored' if _in(at, faults.mirrored) else look
            data, told = self._answer(last, look)
            found.append(image(_s(at), data, CAMERA))
            if not _in(at, faults.silent):
                count += 1
                found.append(_place(at, told))
                if k % 3 == 0:
                    found.append(_status(at + 0.2, told, self.lowest, count))
        return found

    def _where(self, k: int, at: float, faults: Faults) -> list[Record]:
        """Fixes and odometry at an image and halfway to the next one."""
        found, pose = [], self.frames[k].pose
        after = self.frames[min(k + 1, len(self.frames) - 1)].pose
        for share in (0.0, 0.5):
            here, moment = interpolate_pose(pose, after, share), at + STEP * share
            if faults.odometry:
                found.append(odometry(_s(moment), here, frame_id=faults.odom_frame))
            if not _in(moment, faults.no_fix):
                north = 60.0 if _in(moment, faults.shift) else 0.0
                enu = np.array([[here.x, here.y + north, 0.0]])
                exact = 20.0 if _in(moment, faults.vague) else 0.5
                place = self.origin.to_geodetic(enu)[0].tolist()
                found.append(_fix(moment, place, exact))
        return found

    def _answer(self, k: int, look: str) -> tuple[bytes, Recognition | None]:
        """A JPEG, and what a node says of it: None where it refuses the image."""
        if (k, look) not in self._made:
            pixels, data = self.frames[k].read(), self.frames[k].file.read_bytes()
            if look:
                pixels = pixels // 16 if look == 'dark' else pixels[:, ::-1]
                data = cv2.imencode('.jpg', pixels[..., ::-1])[1].tobytes()
            small = self.embedder.resize(np.ascontiguousarray(pixels))
            refused = fault(small, MAX_BLUR, MIN_LIGHT)
            told = None if refused else self._recogniser.recognise(np.ascontiguousarray(pixels))
            self._made[k, look] = data, told
        return self._made[k, look]


def entry(at: float, kind: str, text: str) -> LogEntry:
    """An entry of a log at a second of the trial."""
    return LogEntry(kind, text, T0 + round(at * 1e9), M0 + round(at * 1e9))


def _parts(records: list[Record], gap: Span) -> list[list[Record]]:
    before = [r for r in records if r.received < _s(gap[0])]
    after = [r for r in records if r.received >= _s(gap[1])]
    return [part for part in (before, after) if part]


def _in(at: float, span: Span) -> bool:
    return span[0] <= at < span[1]


def _s(at: float) -> float:
    return T0 / 1e9 + at


def _head(at: float, frame: str = 'camera_optical') -> dict[str, object]:
    ns = T0 + round(at * 1e9)
    return {'stamp': {'sec': ns // 10**9, 'nanosec': ns % 10**9}, 'frame_id': frame}


def _place(at: float, told: Recognition | None) -> Record:
    accepted = told is not None and told.accepted
    candidates = told.candidates if accepted else ()
    results = [{'class_id': str(c.place.id), 'score': c.confidence} for c in candidates]
    # The stamp of the image as `image` rounds it.
    values = {'header': _head(at), 'results': results}
    values['header']['stamp'] = image(_s(at), b'x').values['header']['stamp']
    return Record(PLACE, 'vision_msgs/msg/Classification', _s(at + LATENCY), values)


def _info(at: float, location: str, version: int) -> Record:
    values = {'header': _head(at), 'method': 'x'}
    values |= {'database_location': location, 'database_version': version}
    return Record(INFO, 'vision_msgs/msg/VisionInfo', _s(at), values)


def _fix(at: float, place: list[float], exact: float) -> Record:
    lat, lon, alt = place
    values = {'header': _head(at, 'gps'), 'status': {'status': 0, 'service': 1}}
    values |= {'latitude': lat, 'longitude': lon, 'altitude': alt}
    values |= {'position_covariance': [exact**2, 0, 0, 0, exact**2, 0, 0, 0, 1.0]}
    values |= {'position_covariance_type': 2}
    return Record('/fix', 'sensor_msgs/msg/NavSatFix', _s(at + 0.001), values)


def _status(at: float, told: Recognition | None, lowest: float, count: int) -> Record:
    best = None if told is None else told.candidates[0]
    values = {
        'state': 'active',
        'lowest confidence': f'{lowest:.3f}',
        'images received': count + 3,
        'places published': count,
        'images dropped': 3,
        'last similarity': 'nan' if best is None else f'{best.similarity:.3f}',
        'last margin': 'nan' if best is None else f'{best.margin:.3f}',
        'last refusal': 'nearly black' if told is None else told.refusal,
        'latency p50 ms': '70.0',
        'latency p95 ms': '90.0',
    }
    pairs = [{'key': key, 'value': str(value)} for key, value in values.items()]
    status = {'level': 0, 'name': '/vpr_node: place recognition', 'values': pairs}
    values = {'header': _head(at), 'status': [status]}
    return Record('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', _s(at), values)
