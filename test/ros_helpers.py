# SPDX-License-Identifier: Apache-2.0
"""What the ROS tests share: processes under test, and their camera, listener and operator."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification, VisionInfo

from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.ros.play import image_publisher as publisher
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source

ROOT = Path(__file__).resolve().parents[1]
TOWN = ROOT / 'test' / 'data' / 'town'
# Long, since a busy machine is no failure; what must be quick is asserted where it is measured.
PATIENCE_S = 60.0
LOST_S = 20.0  # without an answer of a transition
EXIT_S = 8.0  # alone 0.3 s; a busy machine stalls for seconds
MAP_PLACES = 12
PLAYED = 8  # images of a bag of `town_bag`
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


def environment(log_folder: Path) -> dict[str, str]:
    """Environment of a process under test: this checkout's sources, logs out of the way."""
    path = os.pathsep.join(
        p for p in (str(ROOT), str(ROOT / 'test'), os.environ.get('PYTHONPATH')) if p
    )
    return {**os.environ, 'PYTHONPATH': path, 'ROS_LOG_DIR': str(log_folder)}


def until(condition: Callable[[], object], what: str, step: Callable[[], object]) -> object:
    """Call `step` until `condition` holds, and return what it returned."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, f'waited {PATIENCE_S:.0f} s in vain for {what}'
        step()
    return value


class Process:
    """A Python module as a process of its own; its output is read when it has ended, or before."""

    extra: dict[str, str] = {}  # of the environment

    def __init__(self, folder: Path, module: str, *arguments: object):
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / 'stdout.txt', folder / 'stderr.txt'
        command = [sys.executable, '-m', module, *map(str, arguments)]
        with self._out.open('wb') as out, self._err.open('wb') as err:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**environment(folder / 'log'), **self.extra},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def has_begun(self) -> bool:
        """Whether ROS runs in it; only then does it heed signals as it should."""
        return any((self._out.parent / 'log').glob('*.log'))

    def wait(self) -> int:
        """Exit status, once the process has ended of its own accord."""
        return self.process.wait(PATIENCE_S)

    def stop(self, signal_number: int = signal.SIGINT) -> tuple[int, float]:
        """Send a signal; exit status and the seconds that the process took to end."""
        started = time.monotonic()
        self.process.send_signal(signal_number)
        status = self.process.wait(PATIENCE_S)
        return status, time.monotonic() - started

    def kill(self) -> None:
        """Whatever a failed test has left running."""
        if self.alive:
            self.process.kill()
            self.process.wait()


class NodeProcess(Process):
    """vpr_node with parameters."""

    module = 'ashtkd_ros.ros.node.vpr_node'

    def __init__(self, folder: Path, *ros_arguments: str, **parameters: object):
        overrides = [x for k, v in parameters.items() for x in ('-p', f'{k}:={v}')]
        arguments = ('--ros-args', *ros_arguments, *overrides)
        super().__init__(folder, self.module, *arguments)

    def end(self, signal_number: int = signal.SIGINT) -> None:
        """The node ends as it should: at once, status 0, no traceback."""
        status, seconds = self.stop(signal_number)
        print(f'ended by {signal.Signals(signal_number).name} after {seconds:.2f} s')
        assert 'Traceback' not in self.stderr, self.stderr
        assert status == 0, f'status {status}: {self.stderr}'
        assert seconds < EXIT_S, f'took {seconds:.1f} s to end'

    def memory_kb(self) -> int:
        """Resident memory."""
        status = Path(f'/proc/{self.pid}/status').read_text()
        return int(status.split('VmRSS:')[1].split()[0])

    def handles(self) -> tuple[int, int]:
        """Numbers of threads and of open files."""
        folder = Path(f'/proc/{self.pid}')
        return len(list((folder / 'task').iterdir())), len(list((folder / 'fd').iterdir()))


class OddNode(NodeProcess):
    """The same with oddities, see `odd_node`; `be(name, text)` turns one on, '' off."""

    module = 'odd_node'

    def __init__(self, folder: Path, *ros_arguments: str, before=None, **parameters: object):
        self._oddities = folder / 'oddities'
        self._oddities.mkdir(parents=True)
        for name, text in (before or {}).items():
            self.be(name, text)
        self.extra = {'ODDITIES': str(self._oddities)}
        super().__init__(folder, *ros_arguments, **parameters)

    def be(self, name: str, text: str) -> None:
        """From now on."""
        new = self._oddities / '.new'
        new.write_text(text)
        os.replace(new, self._oddities / name)


class Peer:
    """Camera, listener and operator of one vpr_node, in the test's own process."""

    def __init__(self, namespace: str = ''):
        self.places: list[Classification] = []
        self.poses: list[PoseWithCovarianceStamped] = []
        self.infos: list[VisionInfo] = []
        self.diagnostics: list[DiagnosticStatus] = []
        self.node = rclpy.create_node('peer', namespace=namespace)
        self._status_name = f'{namespace}/vpr_node: place recognition'
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        hear = self.node.create_subscription
        hear(Classification, 'vpr_node/place', self.places.append, 100)
        hear(PoseWithCovarianceStamped, 'vpr_node/pose', self.poses.append, 100)
        hear(VisionInfo, 'vpr_node/vision_info', self.infos.append, latched)
        hear(DiagnosticArray, '/diagnostics', self._keep_status, 10)
        self.camera = self.node.create_publisher(Image, 'image', 10)
        # The same topic name cannot carry two types: the node's is remapped where it is asked.
        self.compressed_camera = self.node.create_publisher(CompressedImage, 'jpeg', 10)
        self._clients = {
            name: self.node.create_client(kind, f'vpr_node/{name}')
            for name, kind in (
                ('change_state', ChangeState),
                ('get_state', GetState),
                ('set_parameters', SetParameters),
            )
        }
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _keep_status(self, message: DiagnosticArray) -> None:
        self.diagnostics += [s for s in message.status if s.name == self._status_name]

    def spin(self, seconds: float = 0.02) -> None:
        """Let what has arrived be heard; returns early when something has."""
        self._executor.spin_once(timeout_sec=seconds)

    def until(self, condition: Callable[[], object], what: str) -> object:
        """Listen until `condition` holds."""
        return until(condition, what, self.spin)

    def call(self, service: str, request):
        """Response of one of the node's services, which may be called twice."""
        return self._ask_again(self._clients[service], request)

    def _ask_again(self, client, request, again_s: float = 5.0):
        """Response of a service; asked again each `again_s` without an answer.

        On a busy machine the middleware may lose the answer to a client that it has just met: a
        server waits for the way back for 100 ms only.
        """
        service, asked = client.srv_name, []
        self.until(client.service_is_ready, f'the service {service}')

        def answered():
            if not asked or time.monotonic() > asked[-1][0] + again_s:
                asked.append((time.monotonic(), client.call_async(request)))
            return next((future for _, future in asked if future.done()), None)

        return self.until(answered, f'an answer of {service}').result()

    def service(self, name: str, kind: type = Trigger, node: str = 'vpr_node') -> Callable:
        """A function that calls a service of a node that runs, once, and returns its response.

        No answer is lost, as `_ask_again` tells: who has answered a client of a process has met
        all that this process had before it.
        """
        client = self.node.create_client(kind, name if '/' in name else f'{node}/{name}')
        self.until(client.service_is_ready, f'the service {name}')
        newest = self.node.create_client(GetParameters, f'{node}/get_parameters')
        self._ask_again(newest, GetParameters.Request())
        self.node.destroy_client(newest)

        def call(request=None):
            future = client.call_async(request or kind.Request())
            self.until(future.done, f'an answer of {name}')
            return future.result()

        return call

    def change_state(self, transition: int) -> bool:
        """Ask for a lifecycle transition; whether it succeeded.

        A request may be carried out and its answer lost: the state tells.
        """
        before = self.state()
        client = self._clients['change_state']
        self.until(client.service_is_ready, 'the service change_state')
        request = ChangeState.Request(transition=Transition(id=transition))
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            future, again = client.call_async(request), time.monotonic() + LOST_S
            while not future.done() and time.monotonic() < again:
                self.spin()
            if future.done():
                return future.result().success
            if self.state() != before:
                return True
        raise AssertionError(f'no answer of change_state within {PATIENCE_S:.0f} s')

    def state(self) -> str:
        """Label of the node's lifecycle state."""
        return self.call('get_state', GetState.Request()).current_state.label

    def set_parameter(self, name: str, value: object) -> bool:
        """Set one parameter of the node; whether it was accepted."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call('set_parameters', request).results[0].successful

    def ask(self, message, camera=None) -> Classification:
        """Publish an image until its place comes back: discovery may lose the first ones."""
        camera, stamp = camera or self.camera, message.header.stamp

        def answer() -> Classification | None:
            return next((p for p in self.places if p.header.stamp == stamp), None)

        self.until(camera.get_subscription_count, 'the node to subscribe')
        end = time.monotonic() + PATIENCE_S
        while answer() is None:
            assert time.monotonic() < end, 'the node does not answer'
            camera.publish(message)
            again = time.monotonic() + 1.0
            while answer() is None and time.monotonic() < again:
                self.spin()
        return answer()

    @contextlib.contextmanager
    def streaming(self, pixels: np.ndarray, hz: float) -> Iterator[None]:
        """Publishes the picture again and again meanwhile."""
        ended = threading.Event()

        def publish() -> None:
            number = 0
            while not ended.wait(1.0 / hz):
                number += 1
                self.camera.publish(image_message(pixels, number / hz))

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def status(self, **wanted: object) -> tuple[DiagnosticStatus, dict[str, str]]:
        """The next diagnostics with these values (underscores for spaces), and all its values."""
        self.diagnostics.clear()

        def matching():
            for status in self.diagnostics:
                values = {pair.key: pair.value for pair in status.values}
                if all(values.get(k.replace('_', ' ')) == str(v) for k, v in wanted.items()):
                    return status, values
            return None

        return self.until(matching, f'diagnostics with {wanted}')

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()


def picture(number: int = 0, walk: str = 'day') -> np.ndarray:
    """Image of a shipped walk, uint8 (240, 320, 3), RGB."""
    return read_source(TOWN / walk)[number].read()


def image_message(pixels: np.ndarray, stamp: float = 1.0, encoding: str = 'rgb8') -> Image:
    """uint8 (H, W, 3) as an Image."""
    return stamped(publisher.image_message(pixels, encoding), stamp)


def compressed_message(pixels: np.ndarray, stamp: float = 1.0, kind: str = 'jpg'):
    """uint8 (H, W, 3), RGB, as a CompressedImage."""
    data = cv2.imencode(f'.{kind}', pixels[..., ::-1])[1]
    return stamped(CompressedImage(format=kind, data=array.array('B', data.tobytes())), stamp)


def save_town(folder: Path, embedder: Embedder, count: int = MAP_PLACES) -> None:
    """Save the map of the first frames of the day walk, with local features if there are any."""
    frames = read_source(TOWN / 'day')[:count]
    places = [Place(i, f.stamp, f.order, f.pose, f.name) for i, f in enumerate(frames)]
    looks = [embedder.describe(*frame.pixels()) for frame in frames]
    local = None if embedder.local is None else np.stack([look.local for look in looks])
    descriptors = np.stack([look.descriptor for look in looks])
    PlaceMap.build(descriptors, places, embedder, local=local).save(folder)


def town_bag(path: Path, walk: str = 'day', **options: object) -> Path:
    """A rosbag of the first frames of a shipped walk, 0.35 s apart; options as BagOptions."""
    make_bag(read_source(TOWN / walk)[:PLAYED], path, BagOptions(**options))
    return path


def stamped(message, stamp: float):
    """The message with a header of its own."""
    message.header.frame_id = 'front_camera'
    message.header.stamp.sec = int(stamp)
    message.header.stamp.nanosec = round((stamp - int(stamp)) * 1e9)
    return message
