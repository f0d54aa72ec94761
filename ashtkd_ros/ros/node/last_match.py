# SPDX-License-Identifier: Apache-2.0
"""What is known of the last image, for `~/relocalize`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from geometry_msgs.msg import PoseWithCovarianceStamped

from ashtkd_ros.ros.node.loaded_map import LoadedMap


@dataclass(frozen=True)
class LastMatch:
    """The match of the last image.

    `pose` makes its message; None if there is no pose, and `refusal` says why. `loaded_map`: the
    map of the match. `at`: time of the match, in seconds of the monotonic clock.
    """

    loaded_map: LoadedMap | None = None
    pose: Callable[[], PoseWithCovarianceStamped] | None = None
    refusal: str = 'no image has been recognised yet'
    at: float = field(default_factory=time.monotonic)
