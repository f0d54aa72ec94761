# SPDX-License-Identifier: Apache-2.0
"""A simulated robot as live topics: it drives round a rendered walk, with sensors that can fail.

    python -m tools.trial.robot WALK --condition dusk

It publishes /camera/image_raw/compressed (10 Hz), /odom (50 Hz), /fix (5 Hz), /battery, and /tf
where tf2_msgs is installed. It stands until it reads the line "go" on its standard input; the line
"fault KIND SECONDS" gives its sensors a fault of tools/trial/plan.py. It ends when its input ends.
"""

from __future__ import annotations

import array
import csv
import math
import queue
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import rclpy
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import BatteryState, CompressedImage, NavSatFix, NavSatStatus
from std_msgs.msg import Header

from ashtkd_ros.cli.arguments import count, positive
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.session import end_on_signal, ros_session
from ashtkd_ros.stamps import split_ns
from ashtkd_ros.traverses.image_folder import read_source
from tools.render.conditions import CONDITIONS
from tools.trial import plan
from tools.trial.camera import HZ, Camera, as_jpeg
from tools.trial.robot_process import READY
from tools.trial.route import Point, Route, distance_driven, speed_at
from tools.trial.sensors import FIX_HZ, FIX_STDDEV_M, ODOMETRY_HZ, Odometry, Receiver

SPEED = 4.5  # m/s
IMAGE_TOPIC, ODOM_TOPIC, FIX_TOPIC = '/camera/image_raw/compressed', '/odom', '/fix'
BATTERY_TOPIC = '/battery'
_CLOCK_JUMP_S, _FIX_JUMP_M = 30, 40.0
_BATTERY_S = 3600.0  # from full to empty


class Robot(Node):
    """The robot's topics. `speed`: m/s; `seed`: of all noise; `truth`: a new file for true poses,
    by the true time, and whether (1, 0) an image was sent then.

    VprError where the walk cannot be read or the file exists.
    """

    def __init__(
        self, walk: Path, condition: str, speed: float, seed: int, truth: Path | None = None
    ):
        super().__init__('simulated_robot')
        frames = read_source(walk)
        self.route = Route([frame.pose for frame in frames])
        pictures = [cv2.cvtColor(frame.read(), cv2.COLOR_RGB2BGR) for frame in frames]
        self._eye = Camera(self.route, pictures, condition, seed)
        self._odometry, self._receiver = Odometry(seed), Receiver(seed)
        self._speed, self._born, self._started = speed, time.monotonic(), math.inf
        self._until: dict[str, float] = {}  # fault → when it ends
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._file, self._frozen, self._measured = _new_file(truth), b'', self._born
        self._camera = self._new_camera()
        self._odom = self.create_publisher(OdometryMessage, ODOM_TOPIC, 50)
        self._fix = self.create_publisher(NavSatFix, FIX_TOPIC, 10)
        self._battery = self.create_publisher(BatteryState, BATTERY_TOPIC, 1)
        self._tf = self._new_tf()
        self.create_timer(1 / HZ, self._publish_picture)
        self.create_timer(1 / ODOMETRY_HZ, self._publish_odometry)
        self.create_timer(1 / FIX_HZ, self._publish_fix)
        self.create_timer(1.0, self._publish_battery)

    def _new_camera(self):
        return self.create_publisher(CompressedImage, IMAGE_TOPIC, 10)

    def _new_tf(self):
        if find_spec('tf2_msgs') is None:
            return None
        from tf2_msgs.msg import TFMessage

        return self.create_publisher(TFMessage, '/tf', 50)

    def command(self, line: str) -> None:
        """Do what a line says; VprError where it says nothing that is known."""
        word, _, rest = line.strip().partition(' ')
        kind, _, seconds = rest.rpartition(' ')
        if word == 'go':
            self._started = time.monotonic()
        elif word == 'fault' and kind in plan.SENSOR_FAULTS:
            self._until[kind] = time.monotonic() + positive(seconds)
        else:
            raise VprError(f'"{line.strip()}" is no command; write "go" or "fault KIND SECONDS"')

    def _has(self, fault: str) -> bool:
        return time.monotonic() < self._until.get(fault, -math.inf)

    @property
    def _seconds(self) -> float:
        """Since the start of the drive, 0 before it."""
        return max(0.0, time.monotonic() - self._started)

    @property
    def _distance(self) -> float:
        return distance_driven(self._seconds, self._speed)

    def _header(self, frame: str, true_ns: int | None = None) -> Header:
        """Of a message of now, by the robot's clock, which may have jumped."""
        header, now = Header(frame_id=frame), true_ns or time.time_ns()
        jump = self._has(plan.CLOCK_JUMP) * _CLOCK_JUMP_S * 10**9
        header.stamp.sec, header.stamp.nanosec = split_ns(now + jump)
        return header

    def _publish_picture(self) -> None:
        distance, speed = self._distance, speed_at(self._seconds, self._speed)
        stamp_ns = time.time_ns()
        header = self._header('camera', stamp_ns)
        image = self._eye.picture(time.monotonic() - self._born, distance, speed)
        is_sent = self._plug() and not self._eye.is_lost()
        self._note(stamp_ns, self.route.at(distance), is_sent)
        if self._has(plan.CAMERA_DARK):
            image //= 16
        if not (self._has(plan.CAMERA_FROZEN) and self._frozen):
            self._frozen = as_jpeg(image)
        if is_sent:
            data = array.array('B', self._frozen)
            self._camera.publish(CompressedImage(header=header, format='jpeg', data=data))

    def _plug(self) -> bool:
        """Whether the camera is there; its topic goes with it, as that of a driver does."""
        if self._has(plan.CAMERA_UNPLUGGED):
            if self._camera is not None:
                self.destroy_publisher(self._camera)
                self._camera = None
        elif self._camera is None:
            self._camera = self._new_camera()
        return self._camera is not None

    def _note(self, stamp_ns: int, point: Point, is_sent: bool) -> None:
        if self._file is not None:
            row = [stamp_ns, *(f'{n:.4f}' for n in (point.x, point.y, point.yaw)), int(is_sent)]
            csv.writer(self._file, lineterminator='\n').writerow(row)

    def _publish_odometry(self) -> None:
        now = time.monotonic()
        seconds, self._measured = now - self._measured, now
        speed = speed_at(self._seconds, self._speed)
        state = self._odometry
        state.update(seconds, speed, speed * self.route.at(self._distance).turn)
        if self._has(plan.ODOMETRY_STOPPED):
            return
        message = OdometryMessage(header=self._header('odom'), child_frame_id='base_link')
        pose = message.pose.pose
        pose.position.x, pose.position.y = state.x, state.y
        pose.orientation.z, pose.orientation.w = math.sin(state.yaw / 2), math.cos(state.yaw / 2)
        message.twist.twist.linear.x = state.speed
        message.twist.twist.angular.z = state.turning
        self._odom.publish(message)
        if self._tf is not None:
            self._publish_tf(message)

    def _publish_tf(self, message: OdometryMessage) -> None:
        transform = TransformStamped(header=message.header, child_frame_id='base_link')
        transform.transform.translation.x = message.pose.pose.position.x
        transform.transform.translation.y = message.pose.pose.position.y
        transform.transform.rotation = message.pose.pose.orientation
        self._tf.publish(self._tf.msg_type(transforms=[transform]))

    def _publish_fix(self) -> None:
        message = NavSatFix(header=self._header('gnss'))
        message.status.service = NavSatStatus.SERVICE_GPS
        if self._has(plan.GNSS_OUTAGE):
            message.status.status = NavSatStatus.STATUS_NO_FIX
            where = (math.nan,) * 3
        else:
            jump = _FIX_JUMP_M * self._has(plan.GNSS_JUMP)
            where = self._receiver.fix(self.route.at(self._distance), jump)
            message.status.status = NavSatStatus.STATUS_FIX  # the default is unknown
            variance = FIX_STDDEV_M**2
            message.position_covariance = [variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, 1.0]
            message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_APPROXIMATED
        message.latitude, message.longitude, message.altitude = where
        self._fix.publish(message)

    def _publish_battery(self) -> None:
        message = BatteryState(header=self._header('battery'), present=True)
        message.percentage = max(0.0, 0.9 - (time.monotonic() - self._born) / _BATTERY_S)
        message.voltage = 22.0 + 3.0 * message.percentage
        self._battery.publish(message)

    def listen(self) -> None:
        """Read commands from the standard input, in a thread of its own."""

        def read() -> None:
            for line in sys.stdin:
                self._lines.put(line)
            self._lines.put(None)

        threading.Thread(target=read, daemon=True).start()

    def drive(self) -> None:
        """Publish until the input ends."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        print_lines(READY)
        while rclpy.ok():
            while not self._lines.empty():
                line = self._lines.get()
                if line is None:
                    return
                self.command(line)
            executor.spin_once(timeout_sec=0.05)
        end_on_signal()

    def close(self) -> None:
        """Leave the graph, and close the file."""
        self.destroy_node()
        if self._file is not None:
            self._file.close()


def _new_file(path: Path | None):
    if path is None:
        return None
    try:
        file = path.open('x', 1, encoding='utf-8', newline='')  # each line at once
    except OSError as error:
        raise VprError(f'{path}: cannot be made ({error.strerror}); name a new file') from error
    file.write('stamp_ns,x,y,yaw,image\n')
    return file


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('walk', type=Path, help='folder of a walk, once round, as tools.render writes it')
    text = 'light and weather of the walk (default: %(default)s)'
    add('--condition', choices=CONDITIONS, default='day', help=text)
    add('--speed', type=positive, default=SPEED, help='in m/s (default: %(default)g)')
    add('--seed', type=count, default=0, help='of all noise (default: %(default)d)')
    add(
        '--truth',
        type=Path,
        metavar='FILE',
        help='CSV for the true poses of all images; a new file',
    )
    args = parser.parse_args(argv)
    with ros_session([]):
        robot = Robot(args.walk, args.condition, args.speed, args.seed, args.truth)
        try:
            robot.listen()
            robot.drive()
        finally:
            robot.close()
    return 0


if __name__ == '__main__':
    run_command(main)
