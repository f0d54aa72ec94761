# SPDX-License-Identifier: Apache-2.0
"""What a running vpr_node must not have imported: start-up time and memory of a robot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import TOWN, environment

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
UNUSED = {'rosbags', 'tqdm', 'sqlite3', 'matplotlib', 'jinja2', 'torch', 'onnx', 'cv_bridge'}
UNUSED |= {'scipy', 'pandas', 'pydantic', 'PIL', 'launch', 'multiprocessing', 'tools'}
STOREYS = ('bags', 'mapping', 'evaluation', 'commands', 'ros.play')

# As `vpr_node.main` does, but with images and a subscriber, and without waiting for a signal.
RUN = """
import sys, time
import cv2, rclpy
from ashtkd_ros.ros.node import vpr_node

rclpy.init(args=sys.argv)
node = vpr_node.VprNode()
node.autostart.begin()
assert node.state == 'active', node.health.last_error
from sensor_msgs.msg import Image
debug = node.create_subscription(Image, '~/debug_image', lambda _: None, 1)
pixels = cv2.imread(sys.argv[1])
height, width = pixels.shape[:2]
message = Image(height=height, width=width, encoding='bgr8', step=3 * width)
message.data = pixels.tobytes()
while not node.outputs._debug.get_subscription_count():
    time.sleep(0.01)
node.pipeline.process((message, time.perf_counter()))
assert node.health.processed == 1, node.health.last_error
node.close_pipeline()
rclpy.shutdown()
print(*sorted(sys.modules), sep='\\n')
"""


def test_a_node_at_work_has_imported_nothing_that_it_does_not_use(
    ros, town_map: Path, tmp_path: Path
) -> None:
    image = TOWN / 'day' / 'images' / '0000.jpg'
    command = [sys.executable, '-c', RUN, str(image), '--ros-args', '-p', f'map_path:={town_map}']
    done = subprocess.run(
        command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()
    assert 'ashtkd_ros.ros.node.vpr_node' in modules
    assert UNUSED & {module.partition('.')[0] for module in modules} == set()
    ours = tuple(f'ashtkd_ros.{storey}' for storey in STOREYS)
    assert [module for module in modules if module.startswith(ours)] == []
