# SPDX-License-Identifier: Apache-2.0
"""The node as its parts know it: what it holds, and what they may ask of it and of each other."""

from __future__ import annotations

from typing import Protocol

from rclpy.lifecycle import LifecycleNode

from ashtkd_ros.images.faults import FrozenDetector
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.ros.node.health import Health
from ashtkd_ros.ros.node.image_subscription import ImageSubscription
from ashtkd_ros.ros.node.last_match import LastMatch
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.ros.node.parameters import Parameters
from ashtkd_ros.ros.node.publishers import Publishers


class Start(Protocol):
    """See `autostart`."""

    retrying: bool
    last_error: str

    def start(self) -> bool: ...


class Recovery(Protocol):
    """See `failure_recovery`."""

    reason: str

    def count_failure(self, text: str) -> None: ...

    def reactivate(self) -> bool: ...


class Pipeline(Protocol):
    """See `image_pipeline`."""

    subscription: ImageSubscription
    frozen: FrozenDetector


class NodeState(LifecycleNode):
    """`VprNode` sets all of this; what is None exists only in some of its states.

    `state`: of the life cycle, in lower case; `enabled`: whether images are used;
    `parameter_error`: why the node cannot be configured, empty if it can.
    """

    state: str
    enabled: bool
    parameter_error: str
    health: Health
    last_match: LastMatch
    autostart: Start
    recovery: Recovery
    parameters: Parameters | None
    embedder: Embedder | None
    loaded_map: LoadedMap | None
    outputs: Publishers | None
    pipeline: Pipeline | None

    def load_map(self, embedder: Embedder, configured: Parameters) -> LoadedMap:
        """Load the map that `map_path` names now."""
        raise NotImplementedError

    def use_map(self, loaded: LoadedMap) -> None:
        """Use a map from the next image on."""
        raise NotImplementedError

    def enable(self, enabled: bool) -> None:
        """Use the images that come, or ignore them."""
        raise NotImplementedError
