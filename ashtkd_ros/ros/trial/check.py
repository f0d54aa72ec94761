# SPDX-License-Identifier: Apache-2.0
"""The check list before an outdoor trial: go or no-go, in words.

Camera rate, exposure, blur, stamps, clock, disk, network, map, satellites, odometry, battery. The
last line is "go", or "no-go: " and the reasons; the exit status is 0 for go. What is wrong but
makes no trial worthless is "unsure".

example: ros2 run ashtkd_ros trial_check --image-topic /camera/image_raw --map ~/maps/campus
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path

import rclpy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage

from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import write_errors, write_text
from ashtkd_ros.maps.city import is_city
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.tiled_map import TiledMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.ros.session import end_on_signal, ros_session
from ashtkd_ros.ros.timeouts import Task
from ashtkd_ros.ros.trial.check_settings import CheckSettings
from ashtkd_ros.ros.trial.measuring import Heard, Measurement
from ashtkd_ros.stamps import ns_to_s
from ashtkd_ros.trials import checks
from ashtkd_ros.trials.checks import GO, UNSURE, Check
from ashtkd_ros.trials.equipment import map_facts, model_facts
from ashtkd_ros.trials.folder import CHECKS, TrialFolder
from ashtkd_ros.trials.picture_check import DAMAGED, PictureCheck
from ashtkd_ros.trials.robot_watch import accuracy_m
from ashtkd_ros.trials.time_sync import time_sync

_LOAD_S = 60.0
_FROZEN_AFTER = 10
_DAY_S = 86400.0


class CheckList:
    """Makes the list in a session of ROS."""

    def __init__(self, settings: CheckSettings):
        self._settings = settings
        node = rclpy.create_node('trial_check')
        self._measured = Measurement(node, settings.cameras, settings.topics)

    def make(self, seconds: float) -> list[Check]:
        """Measure for so many seconds, and judge."""
        self._measured.listen(seconds, end_on_signal)
        groups = zip_longest(self._measured.cameras, self._settings.transports, fillvalue=())
        found = [check for group in groups for check in self._camera(*group)]
        found += [checks.system_clock(time.time_ns(), *time_sync()), self._disk()]
        if self._settings.equipment:
            found += self._equipment()
        return [*found, *self._robot(), self._topics()]

    @property
    def cameras(self) -> list[str]:
        """The topics on which images came."""
        heard = [self._measured.heard(group) for group in self._measured.cameras]
        return [h.topic for h in heard if h.messages]

    def _camera(self, group: Sequence[Heard], transports: Sequence[str]) -> list[Check]:
        s, heard = self._settings, self._measured.heard(group)
        topic, seconds = heard.topic, self._measured.seconds_of(heard)
        why = '' if heard.messages else self._measured.why_not(topic)
        rate = checks.camera_rate(topic, heard.messages, seconds, s.least_hz, why)
        if not heard.messages:
            return [rate]
        kind = 'compressed' if heard.last[-1][0] is CompressedImage else 'raw'
        if transports and kind not in transports:
            return [checks.transport(topic, kind, transports)]
        look, faults, grey = PictureCheck(s.max_blur, s.min_light, not s.simulated), [], []
        for (kind, data), (stamp, _) in zip(
            heard.last, heard.stamps[-len(heard.last) :], strict=False
        ):
            message = deserialize_message(data, kind)
            faults.append(look.look(message, ns_to_s(stamp), _FROZEN_AFTER))
            grey += [look.brightness] if faults[-1] != DAMAGED else []
        return [
            rate,
            checks.exposure(topic, faults, statistics.fmean(grey or [math.nan])),
            checks.sharpness(topic, faults),
            checks.frozen(topic, faults, look.changed),
            checks.camera_stamps(topic, heard.stamps, s.simulated),
        ]

    def _disk(self) -> Check:
        folder, rate = self._settings.folder, self._measured.bytes_per_s
        free = shutil.disk_usage(folder).free
        return checks.disk(str(folder), free, rate, self._settings.minutes)

    def _equipment(self) -> list[Check]:
        """Load networks and maps as the nodes would, for a limited time."""
        used = self._settings.equipment
        task = Task('loader', lambda: [check for each in used for check in _load(*each)])
        if not task.wait(_LOAD_S, rclpy.ok):
            end_on_signal()
            maps = ', '.join(place_map for _, place_map in used)
            fault = f'{maps}: not loaded within {_LOAD_S:.0f} s; check the disk'
            return [checks.place_map(maps, '', 0, 0.0, fault)]
        return list(dict.fromkeys(task.result()))

    def _robot(self) -> list[Check]:
        s, robot = self._settings, self._measured.robot
        found = []
        if (heard := robot['fix']).topic:
            fix = heard.newest()
            status, accuracy = -1, math.nan
            if fix is not None:
                status = fix.status.status
                accuracy = accuracy_m(fix.position_covariance, fix.position_covariance_type)
            found.append(
                checks.satellites(
                    heard.topic, heard.messages, status, accuracy, heard.behind_s, s.simulated
                )
            )
        if (heard := robot['odom']).topic:
            seconds = self._measured.seconds_of(heard)
            found.append(
                checks.odometry(heard.topic, heard.messages, seconds, heard.behind_s, s.simulated)
            )
        if (heard := robot['battery']).topic:
            state = heard.newest()
            found.append(checks.battery(heard.topic, None if state is None else state.percentage))
        return found

    def _topics(self) -> Check:
        """Of a camera only the topic that it uses."""
        groups = self._settings.cameras
        unused = {t for group in groups if set(group) & set(self.cameras) for t in group}
        unused -= set(self.cameras)
        recorded = [topic for topic in self._settings.recorded if topic not in unused]
        present = self._measured.published(recorded)
        return checks.topics(present, [topic for topic in recorded if topic not in present])


def _load(model_path: str, map_path: str) -> list[Check]:
    """Load a network and a map, and judge them."""
    try:
        facts = model_facts(model_path)
        embedder = Embedder(Path(facts['path']), num_threads=1)
    except VprError as error:
        return [checks.model(model_path, '', str(error))]
    found = [checks.model(facts['path'], facts['sha256'], '')]
    try:
        if not map_path:
            raise VprError('map_path is not set; give the folder of a map')
        of_map, fault = map_facts(map_path), ''
        if is_city(Path(map_path)):
            tiles = TiledMap(Path(map_path), embedder)
            tiles.begin()
            fault = tiles.fault
        else:
            PlaceMap.load(Path(map_path), embedder)
    except VprError as error:
        return [*found, checks.place_map(map_path, '', 0, 0.0, str(error))]
    built = datetime.strptime(str(of_map['built']), '%Y-%m-%dT%H:%M:%SZ')
    age = (time.time() - built.replace(tzinfo=timezone.utc).timestamp()) / _DAY_S
    found.append(checks.place_map(map_path, of_map['sha256'], of_map['places'], age, ''))
    return [*found, Check('tiles', UNSURE, fault)] if fault else found


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--trial', type=Path, help='folder of a trial: its configuration tells what to check')
    add('--image-topic', action='append', help='topic of a camera, repeatable (default: image)')
    add('--fix-topic', default='fix', help='topic of the satellite fixes (default: fix)')
    add('--odom-topic', default='odom', help='topic of the odometry (default: odom)')
    add(
        '--battery-topic',
        default='battery_state',
        help='topic of the battery (default: battery_state)',
    )
    add('--map', type=Path, help='folder of the map (default: neither map nor network is checked)')
    add('--model', type=Path, help='network, an .onnx file (default: that of the package)')
    add(
        '--planned-minutes',
        type=positive,
        default=30.0,
        help='how long the trial will be, in minutes (default: 30)',
    )
    add(
        '--hz',
        type=positive,
        help='images per second that are wanted (default: max_rate_hz of the trial, else 1)',
    )
    add(
        '--seconds',
        type=positive,
        default=5.0,
        help='how long to listen after the first image, in seconds (default: 5)',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exit status 1 for a no-go."""
    args = _parser().parse_args(argv)

    def command() -> int:
        trial = None if args.trial is None else TrialFolder.open(args.trial)
        settings = (
            CheckSettings.of_trial(trial, args.hz) if trial else CheckSettings.of_options(args)
        )
        with ros_session([]):
            made = CheckList(settings)
            found = made.make(args.seconds)
            document = checks.document(found, args.seconds, made.cameras)
        if trial is not None:
            with write_errors(trial.path / CHECKS):
                text = json.dumps(document, indent=1, ensure_ascii=False)
                write_text(trial.path / CHECKS, f'{text}\n')
        print_lines(*checks.lines(found))
        return 0 if document['verdict'] == GO else 1

    run_command(command)


if __name__ == '__main__':
    main()
