# SPDX-License-Identifier: Apache-2.0
"""vpr_node: camera images in, places out; parameters in `parameters`, topics in `answers`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.images.bit_depth import BitDepth, map_bits
from ashtkd_ros.images.faults import Frozen, fault
from ashtkd_ros.images.message_decoding import ImageError, compressed_to_array
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.model_file import read_model
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.rate_gate import RateGate
from ashtkd_ros.recognition.recogniser import Recogniser
from ashtkd_ros.ros.node import memory, parameters, shared_memory
from ashtkd_ros.ros.node.cv_bridge_fallback import image_to_array
from ashtkd_ros.ros.node.debug_picture import picture_reader
from ashtkd_ros.ros.node.diagnostics import Diagnostics
from ashtkd_ros.ros.node.health import Health
from ashtkd_ros.ros.node.image_subscription import Camera
from ashtkd_ros.ros.node.map_pictures import Pictures
from ashtkd_ros.ros.node.map_watch import MapWatch
from ashtkd_ros.ros.node.messages import map_markers, rehearse
from ashtkd_ros.ros.node.publishers import Answers, Current, Served
from ashtkd_ros.ros.node.services import Services
from ashtkd_ros.ros.node.worker import Worker
from ashtkd_ros.ros.session import (
    end_of_signals,
    noted_interrupts,
    refusing,
    session,
    spin,
    told,
    transition,
)
from ashtkd_ros.ros.timeouts import Reader

# As many failures of the network in a row are no accident: the node stops trying.
_MOST_FAILURES = 10
_RETRY_S = 5.0
_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0
_NOT_YET = 'no image has been recognised yet'


class StartFailed(Exception):
    """The node could not start, which has been logged: the process ends with status 1."""


class VprNode(LifecycleNode):
    """Configure loads network and map and warms up; activate only subscribes."""

    def __init__(self):
        try:
            super().__init__('vpr_node', automatically_declare_parameters_from_overrides=True)
        except ValueError as error:
            raise parameters.not_made(self, error) from error
        service = self._service_change_state
        service.callback = refusing(service.callback)
        self.health, self.state, self.enabled = Health(), 'unconfigured', True
        self.served = self.parameters = self.answers = self.embedder = None
        self.camera = self._worker = None
        self._maps_loaded = 0
        self.given_up = self._refused = self.last_said = ''
        self.retrying, self._pause_s = False, _PAUSE_S / 2
        seconds = partial(self._value, 'load_timeout_s')
        self._reader = Reader(seconds, self.context.ok)
        self._forget()
        try:
            parameters.declare(self)
        except VprError as error:
            self._refused = str(error)
        self.add_on_set_parameters_callback(parameters.refuse_bad)
        Services(self)
        Diagnostics(self)

    def begin(self) -> None:
        """Configure and activate, unless `autostart` is false; `on_start_failure` where it fails.

        StartFailed where the process is to end; what failed has been logged.
        """
        if not (self._refused or self._value('autostart')) or self.start():
            return
        choice = parameters.on_start_failure(self)
        if choice == 'stay' or not self.context.ok():
            return
        if choice == 'exit' or self._refused:  # what was refused is refused again
            raise StartFailed
        self.get_logger().warning(f'trying again every {_RETRY_S:.0f} s')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._retry_timer = self.create_timer(_RETRY_S, self._retry, clock=steady)

    def start(self) -> bool:
        """Configure and activate; whether that went well. What fails is logged."""
        configured = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        return configured and self.trigger_activate() == TransitionCallbackReturn.SUCCESS

    def _retry(self) -> None:
        self.retrying = True
        try:
            if self.state != 'unconfigured' or self.start():
                self._retry_timer.cancel()
        finally:
            self.retrying = False

    def _value(self, name: str):
        return self.get_parameter(name).value

    @transition
    def on_configure(self, state: LifecycleState) -> None:
        """Load and check network and map, run the network once, offer the topics."""
        if self._refused:
            raise VprError(self._refused)
        try:
            self._configure()
        except BaseException:
            self._tear_down('unconfigured')
            raise

    def _configure(self) -> None:
        self.parameters = p = parameters.read(self)
        model = Path(p.model_path or shipped_model())
        self._reader.read(str(model), partial(read_model, model))
        self.embedder = Embedder(
            model,
            p.providers,
            p.num_threads,
            spinning=p.spinning,
            cache=p.engine_cache or None,
            notify=self.get_logger().info,
        )
        for warning in self.embedder.warnings:
            self.get_logger().warning(warning)
        served = self.load_map(self.embedder, p)
        self.embedder.warm_up()
        rehearse(served)
        self.answers = Answers(self)
        self.serve(served)
        self.state, self.health.last_error = 'inactive', ''
        if not self.retrying:
            self.get_logger().info(f'configured: {self._of_the_map()}')

    def _of_the_map(self) -> str:
        served, embedder = self.served, self.embedder
        return (
            f'{len(served.places)} places from {served.parameters.map_path}, model '
            f'{embedder.name} {embedder.hash[:8]} on {embedder.provider}'
        )

    def load_map(self, embedder: Embedder, configured: parameters.Parameters) -> Served:
        """The map at `map_path` as it is now, checked; VprError says what is wrong with it.

        Within `load_timeout_s`, whatever its disk does.
        """
        path = parameters.path_of(self, 'map_path')
        if not path:
            raise VprError(f'map_path is not set; {parameters.advice_for(self)}')
        return self._reader.read(path, partial(self._load_map, path, embedder, configured))

    def _load_map(self, path: str, embedder: Embedder, configured) -> Served:
        watch = MapWatch(Path(path))
        place_map = PlaceMap.load(Path(path), embedder)
        for warning in place_map.warnings:
            self.get_logger().warning(warning)
        p = replace(configured, map_path=path)
        recogniser = Recogniser(
            embedder, place_map, MatcherConfig(top_k=p.top_k), p.min_confidence
        )
        pictures = Pictures(picture_reader(place_map))
        served = Served(recogniser, p, pictures, watch, place_spacing(place_map.places))
        return replace(served, markers=map_markers(served))

    def serve(self, served: Served) -> None:
        """Use a map from the next image on; the one before stays where telling of it fails."""
        self.answers.serve(served, self._maps_loaded + 1)
        self._maps_loaded += 1
        self.served = served
        self._forget()

    def revive(self) -> bool:
        """Activate the node where it has given up; whether it is active again."""
        if not (self.given_up and self.state == 'inactive'):
            return False
        self.get_logger().info('trying again after: ' + self.given_up)
        return self.trigger_activate() == TransitionCallbackReturn.SUCCESS

    def _forget(self) -> None:
        self.current = Current(None, None, _NOT_YET)

    @transition
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe to `image`."""
        self.given_up, self.health.failures = '', 0
        self._processed_before = self.health.processed
        self._gate, self.frozen = RateGate(), Frozen()
        transport = self.parameters.image_transport
        bits = map_bits(self.served.recogniser.matcher.map.traverses)
        depth = BitDepth(bits or 8, self.get_logger().info, of_map=bool(bits))
        self._decode = partial(image_to_array, depth=depth)
        if transport == 'compressed':
            size = self.embedder.ample_size
            self._decode = partial(compressed_to_array, at_least=size, depth=depth)
        self._worker = Worker(self._process, self._failed)
        self.health.begin()
        self.camera = Camera(self, transport, self._receive, self._not_received)
        self.camera.start()
        self.state = 'active'
        self.enable(True)
        super().on_activate(state)
        self.get_logger().info(
            f'active: {self._of_the_map()}, images from {self.camera.topic} ({transport})'
        )

    @transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe; the image in hand is still answered."""
        self._close_camera()
        self.answers.forget(self.served, self.get_clock().now().to_msg())
        self.state = 'inactive'
        super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Let go of network and map."""
        self._tear_down('unconfigured')
        self.health.last_error = ''  # an image's, which is not why the node is unconfigured

    @transition
    def on_shutdown(self, state: LifecycleState) -> None:
        """As cleanup, from any state."""
        self._tear_down('finalized')

    @transition
    def on_error(self, state: LifecycleState) -> None:
        """After an unforeseen error: back to unconfigured, ready to be configured again."""
        self._tear_down('unconfigured')

    def _tear_down(self, state: str) -> None:
        self._close_camera()
        if self.answers is not None:
            self.answers.destroy()
        self.served = self.parameters = self.answers = self.embedder = None
        self.given_up = ''
        memory.give_back()
        self.state = state

    def _close_camera(self) -> None:
        if self.camera is not None:
            self.camera.close()
            self.camera = None
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._forget()

    def enable(self, enabled: bool) -> None:
        """Look at images, or let them pass."""
        self.enabled = enabled
        self._forget()

    def _receive(self, message) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self.health.saw_image(stamp)
        if not self.enabled:
            return
        if not self._gate.lets(stamp, self.get_parameter('max_rate_hz').value):
            self.health.skipped += 1
        elif not self._worker.offer((message, time.perf_counter())):
            self.health.dropped += 1

    def _process(self, item) -> None:
        message, received = item
        loaded, header = self.served, message.header
        p = parameters.live(self, loaded.parameters)
        served = loaded if p is loaded.parameters else replace(loaded, parameters=p)
        started = time.perf_counter()
        try:
            image, order = self._decode(message)
        except ImageError as error:
            self.health.saw_error(error.kind, str(error))
            self.get_logger().warning(f'image not used: {error}', throttle_duration_sec=5.0)
            return
        small = served.recogniser.embedder.resize(image)
        decoded = time.perf_counter() - started
        why = fault(small, p.max_blur, p.min_light)
        stamp = header.stamp.sec + header.stamp.nanosec * 1e-9
        noisy = not self._value('use_sim_time')  # a simulation's camera has none
        if self.frozen.sees(small, p.frozen_after, stamp, noisy):
            why = 'frozen'
        if why:
            self.answers.unknown(served, header, image, order, f'{why} image')
            self.current = Current(None, None, f'the image is {why}')
            self.health.saw_fault(why, time.perf_counter() - received)
            return
        found = served.recogniser.recognise(small, order, p.top_k, p.min_confidence)
        pose = self.answers.answer(served, header, image, order, found)
        why = found.refusal or 'the map has no pose for the place'
        self.current = Current(loaded, pose, why)
        now = time.perf_counter()
        self.health.answered(found, now - received)
        rest = now - started - decoded - found.embed_s
        self.health.stages.append((decoded, found.embed_s, rest))

    def _not_received(self, error: Exception) -> None:
        if not self.context.ok():
            return
        text = told(error)
        self.health.saw_error('not received', text)
        self.get_logger().error(f'image not received: {text}', throttle_duration_sec=5.0)

    def _failed(self, error: Exception) -> None:
        if not self.context.ok():  # the node was told to end while an image was in hand
            return
        text = told(error)
        self.health.saw_error('recognition failed', text)
        self.get_logger().error(f'recognition failed: {text}', throttle_duration_sec=5.0)
        self.health.failures += 1
        if self.health.failures >= _MOST_FAILURES and not self.given_up:
            self.given_up = f'recognition failed {_MOST_FAILURES} times in a row: {text}'
            # Not from the worker's thread, for which the transition waits.
            self.executor.create_task(self._give_up)

    def _give_up(self) -> None:
        if self.state != 'active':
            return
        sound = self.health.processed > self._processed_before
        self._pause_s = _PAUSE_S if sound else min(2 * self._pause_s, _LONGEST_PAUSE_S)
        again = self._value('autostart')  # else somebody else decides on the state
        then = f', again in {self._pause_s:.0f} s' if again else ''
        self.get_logger().error(f'{self.given_up}; deactivated{then}')
        self.trigger_deactivate()
        if again:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._revival = self.create_timer(self._pause_s, self._come_back, clock=steady)

    def _come_back(self) -> None:
        self.destroy_timer(self._revival)
        self.revive()


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM (exit status 0); 1 where it cannot start."""

    def command() -> int:
        interrupts = noted_interrupts()
        with contextlib.suppress(KeyboardInterrupt), session(args):
            try:
                return 0 if interrupts else _run()
            finally:
                end_of_signals()
        return 0

    run_command(command)


def _run() -> int:
    memory.reuse_large_buffers()
    files, size = shared_memory.clean_up()
    try:
        node = VprNode()
    except Exception as error:  # RCLError: names, keys of SROS2, the middleware
        if not rclpy.ok():  # a signal has closed the context
            return 0
        raise VprError(f'the node cannot be made: {told(error)}') from error
    if files:
        node.get_logger().info(
            f'{files} files ({size / 1e6:.1f} MB) that killed nodes have left in /dev/shm are gone'
        )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        node.begin()
        spin(executor, node.get_logger())
    except StartFailed:
        return 1
    finally:
        end_of_signals()
        node._close_camera()
        executor.shutdown()
    return 0


if __name__ == '__main__':
    main()
