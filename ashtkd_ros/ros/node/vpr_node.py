# SPDX-License-Identifier: Apache-2.0
"""vpr_node: recognises places in camera images; see `parameters`, `publishers`, `services`."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState
from rclpy.parameter import Parameter

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.cli.terminal import print_error
from ashtkd_ros.errors import VprError, error_text
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.model_file import read_model
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.ros.node import memory, parameter_values, shared_memory
from ashtkd_ros.ros.node.autostart import Autostart, StartFailed
from ashtkd_ros.ros.node.callback_errors import log_transition_errors, refuse_invalid_transitions
from ashtkd_ros.ros.node.command_line import help_text, refusal_of, wants_help
from ashtkd_ros.ros.node.diagnostics import Diagnostics
from ashtkd_ros.ros.node.failure_recovery import FailureRecovery
from ashtkd_ros.ros.node.health import Health
from ashtkd_ros.ros.node.image_pipeline import ImagePipeline
from ashtkd_ros.ros.node.last_match import LastMatch
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.ros.node.map_loading import load_map
from ashtkd_ros.ros.node.messages import check_messages
from ashtkd_ros.ros.node.node_state import NodeState
from ashtkd_ros.ros.node.parameters import Parameters
from ashtkd_ros.ros.node.publishers import Publishers
from ashtkd_ros.ros.node.services import Services
from ashtkd_ros.ros.session import QuietExecutor, ros_session, spin
from ashtkd_ros.ros.signals import ignore_signals, record_interrupts
from ashtkd_ros.ros.timeouts import DiskReader
from ashtkd_ros.text import name_of


class VprNode(NodeState):
    """Configure loads network and map and runs the network; activate only subscribes."""

    def __init__(self):
        try:
            super().__init__('vpr_node', automatically_declare_parameters_from_overrides=True)
        except ValueError as error:
            raise parameter_values.creation_error(self, error) from error
        service = self._service_change_state
        service.callback = refuse_invalid_transitions(service.callback)
        self.health, self.state, self.enabled = Health(), 'unconfigured', True
        self.loaded_map = self.parameters = self.outputs = self.embedder = self.pipeline = None
        self.last_match, self._maps_loaded = LastMatch(), 0
        self.autostart, self.recovery = Autostart(self), FailureRecovery(self)
        timeout = partial(self.get_parameter, 'load_timeout_s')
        self._disk = DiskReader(lambda: timeout().value, self.context.ok)
        self.parameter_error = ''
        try:
            parameter_values.declare(self)
        except VprError as error:
            self.parameter_error = str(error)
        Services(self)
        Diagnostics(self)

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As rclpy does it, whose own refusals do not name the parameter."""
        if refusal := parameter_values.refusal(self, parameter_list):
            return SetParametersResult(successful=False, reason=refusal)
        result = super().set_parameters_atomically(parameter_list)
        names = [name_of(parameter.name) for parameter in parameter_list]
        if not (result.successful or any(name in result.reason for name in names)):
            result.reason = f'parameter {", ".join(names)}: {result.reason}'
        return result

    @log_transition_errors
    def on_configure(self, state: LifecycleState) -> None:
        """Load network and map, check both by running them, and create the publishers."""
        if self.parameter_error:
            raise VprError(self.parameter_error)
        try:
            self._configure()
        except BaseException:
            self._tear_down('unconfigured')
            raise

    def _configure(self) -> None:
        self.parameters = p = parameter_values.read(self)
        self.embedder = self._load_network(p)
        loaded = self.load_map(self.embedder, p)
        check_messages(loaded)
        self.outputs = Publishers(self)
        self.use_map(loaded)
        self.state, self.health.last_error = 'inactive', ''
        if not self.autostart.retrying:
            self.get_logger().info(f'configured: {self._summary()}')

    def _load_network(self, p: Parameters) -> Embedder:
        model = Path(p.model_path or shipped_model())
        self._disk.read(str(model), partial(read_model, model))
        return Embedder(
            model,
            p.providers,
            p.num_threads,
            spinning=p.spinning,
            cache=p.engine_cache or None,
            notify=self.get_logger().info,
            warn=self.get_logger().warning,
        )

    def _summary(self) -> str:
        loaded, embedder = self.loaded_map, self.embedder
        return (
            f'{len(loaded.places)} places from {loaded.parameters.map_path}, model '
            f'{embedder.name} {embedder.hash[:8]} on {embedder.provider}'
        )

    def load_map(self, embedder: Embedder, configured: Parameters) -> LoadedMap:
        """Load the map that `map_path` names now; VprError says what is wrong with it.

        This takes `load_timeout_s` at most, also if the disk does not answer.
        """
        path = parameter_values.path_of(self, 'map_path')
        if not path:
            raise VprError(f'map_path is not set; {parameter_values.advice_for(self)}')
        warn = self.get_logger().warning
        return self._disk.read(path, partial(load_map, path, embedder, configured, warn))

    def use_map(self, loaded: LoadedMap) -> None:
        """Use a map from the next image on; the old map stays if the new one cannot be published.

        The last match is forgotten.
        """
        self.outputs.publish_map(loaded, self._maps_loaded + 1)
        self._maps_loaded += 1
        self.loaded_map = loaded
        self._forget_match()
        if not self.autostart.retrying:
            verify_top = self.get_parameter('verify_top').value
            self.get_logger().info(f'verification: {loaded.verification(verify_top)}')

    @log_transition_errors
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe to the images."""
        self.recovery.begin()
        self.pipeline = ImagePipeline(self)
        self.health.begin()
        self.pipeline.start()
        self.state = 'active'
        self.enable(True)
        super().on_activate(state)
        topic, transport = self.pipeline.subscription.topic, self.parameters.image_transport
        self.get_logger().info(f'active: {self._summary()}, images from {topic} ({transport})')

    @log_transition_errors
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe; the image in hand is still answered."""
        self.close_pipeline()
        self.outputs.clear_match(self.loaded_map, self.get_clock().now().to_msg())
        self.state = 'inactive'
        super().on_deactivate(state)

    @log_transition_errors
    def on_cleanup(self, state: LifecycleState) -> None:
        """Release network and map."""
        self._tear_down('unconfigured')
        self.health.last_error = ''  # it was about an image, not about this state

    @log_transition_errors
    def on_shutdown(self, state: LifecycleState) -> None:
        """Release network and map, from any state."""
        self._tear_down('finalized')

    @log_transition_errors
    def on_error(self, state: LifecycleState) -> None:
        """After an unforeseen error: become unconfigured, ready to be configured again."""
        self._tear_down('unconfigured')

    def _tear_down(self, state: str) -> None:
        self.close_pipeline()
        if self.outputs is not None:
            self.outputs.destroy()
        self.loaded_map = self.parameters = self.outputs = self.embedder = None
        self.recovery.reason = ''
        memory.return_free_memory()
        self.state = state

    def close_pipeline(self) -> None:
        """Unsubscribe and end the threads of an active node."""
        if self.pipeline is not None:
            self.pipeline.close()
            self.pipeline = None
        self.last_match = LastMatch()

    def enable(self, enabled: bool) -> None:
        """Use the images that come, or ignore them."""
        self.enabled = enabled
        self._forget_match()

    def _forget_match(self) -> None:
        self.last_match = LastMatch()
        self.health.forget()


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM: exit status 0.

    1: it could not start; 2: wrong arguments. `--help` prints the parameters instead.
    """

    def command() -> int:
        given = sys.argv if args is None else args
        if wants_help(given):
            print(help_text())
            return 0
        if refusal := refusal_of(given):
            print_error(refusal)
            return 2
        interrupts = record_interrupts()
        with contextlib.suppress(KeyboardInterrupt), ros_session(args):
            try:
                return 0 if interrupts else _run()
            finally:
                ignore_signals()
        return 0

    run_command(command)


def _run() -> int:
    memory.reuse_large_buffers()
    files, size = shared_memory.clean_up()
    try:
        node = VprNode()
    except Exception as error:  # RCLError: invalid names, keys of SROS2, the middleware
        if not rclpy.ok():  # a signal has closed the context
            return 0
        raise VprError(f'the node cannot be created: {error_text(error)}') from error
    if files:
        node.get_logger().info(
            f'removed {files} files ({size / 1e6:.1f} MB) from /dev/shm that killed nodes had left'
        )
    executor = QuietExecutor()
    executor.add_node(node)
    try:
        node.autostart.begin()
        spin(executor, node.get_logger())
    except StartFailed:
        return 1
    finally:
        ignore_signals()
        node.close_pipeline()
        executor.shutdown()
    return 0


if __name__ == '__main__':
    main()
