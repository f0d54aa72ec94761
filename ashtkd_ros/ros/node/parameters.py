# SPDX-License-Identifier: Apache-2.0
"""The parameters of vpr_node: type, default, range and meaning, each stated once, here."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import Field, dataclass, field
from typing import Any

from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT
from ashtkd_ros.network.providers import AUTO
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.prior import RADIUS_M
from ashtkd_ros.recognition.recogniser import (
    BY_THE_MAP,
    MIN_CONFIDENCE,
    SEQUENCE_LENGTH,
    TARGET_PRECISION,
)
from ashtkd_ros.ros.topic_names import TRANSPORTS
from ashtkd_ros.text import name_of

LEAST_SPACING_M = 0.5  # metres; the places of a map may all lie at one point


def _parameter(
    default: object,
    meaning: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    path: bool = False,
) -> Any:
    about = {'meaning': meaning, 'range': (low, high), 'choices': choices}
    about |= {'live': live, 'path': path}
    return field(default=default, metadata=about)


_live = functools.partial(_parameter, live=True)
_path = functools.partial(_parameter, '', path=True)
TYPE_NAMES = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    tuple: 'a list of texts',
}


@dataclass(frozen=True)
class Parameters:
    """A live parameter applies from the next image on, the others when the node is configured.

    `map_path` is also read by ~/reload_map. `~`, `$NAME` and `${NAME}` are expanded in paths.
    """

    model_path: str = _path(
        'Path of the network (.onnx). Empty: the student network that comes with the package.'
    )
    map_path: str = _path(
        'Folder of the map, as build_map writes it, or of tiles, as map_tools tile writes them.'
    )
    providers: tuple[str, ...] = _parameter(
        (AUTO,),
        'ONNX Runtime execution providers, a list with the preferred one first. auto: CUDA, else '
        'OpenVINO, else the CPU, as far as they are installed and work.',
    )
    num_threads: int = _parameter(
        0, 'Threads of the network on the CPU. 0: one for each core.', 0, 256
    )
    spinning: bool = _parameter(
        False,
        'Threads of the network wait in a busy loop between images. Answers come a little '
        'sooner, but the cores are always busy.',
    )
    engine_cache: str = _path(
        'Folder for the engines that TensorRT builds. Empty: ~/.cache/ashtkd_ros.'
    )
    image_transport: str = _parameter(
        TRANSPORTS[0],
        'Transport of the images. Compressed images are looked for on image/compressed, and on '
        'image if they are not there.',
        choices=TRANSPORTS,
    )
    max_rate_hz: float = _live(
        0.0,
        'Highest number of images per second that are used, by their header stamps. 0: all.',
        0.0,
        1000.0,
    )
    top_k: int = _live(MatcherConfig.top_k, 'Number of candidates in each answer.', 1, 100)
    verify_top: int = _live(
        MatcherConfig.verify_top,
        'Number of the most similar places that are verified by local features, where the map has '
        'them. 0: none.',
        0,
        256,
    )
    sequence_length: int = _live(
        SEQUENCE_LENGTH,
        'Number of images that an answer remembers: a filter follows the robot along the places '
        'of the map. 1: each image is answered by itself.',
        1,
        1000,
    )
    use_odometry: bool = _parameter(
        False,
        'Take the distance between images from the forward speeds on odom, where sequence_length '
        'is above 1 and the map has poses.',
    )
    prior_topic: str = _parameter(
        '',
        'Topic that tells about where the robot is: sensor_msgs/NavSatFix, where the map has an '
        'origin, or geometry_msgs/PoseWithCovarianceStamped in the frame of the map. Only places '
        'near to it are candidates. Empty: none.',
    )
    prior_radius_m: float = _live(
        RADIUS_M,
        'How far a place may lie from a position on prior_topic, in metres. 2.5 standard '
        'deviations of the position and 15 m for each second of its age are added.',
        1.0,
        100000.0,
    )
    tile_radius_m: float = _parameter(
        500.0,
        'Where map_path is a city in tiles: those within this distance of the prior, in metres, '
        'are in memory.',
        1.0,
        100000.0,
    )
    min_confidence: float = _live(
        BY_THE_MAP,
        'Lowest confidence (a probability) at which a match is accepted. Below it the place is '
        'unknown. Negative: what the map tells for target_precision, or '
        f'{MIN_CONFIDENCE} where it tells nothing.',
        BY_THE_MAP,
        1.0,
    )
    target_precision: float = _live(
        TARGET_PRECISION,
        'Share of the accepted matches that should be right, where the map chooses the lowest '
        'confidence.',
        0.5,
        0.999,
    )
    map_frame: str = _parameter('', 'Frame of ~/pose and ~/markers. Empty: the frame of the map.')
    initialpose_frame: str = _live(
        'map',
        'Frame that the subscriber of initialpose expects. ~/relocalize warns if the pose is in '
        'another frame. Empty: any frame.',
    )
    publish_pose: bool = _live(True, 'Publish ~/pose for accepted matches.')
    position_stddev: float = _live(
        0.0,
        'Standard deviation of the position in ~/pose, in metres, for a match with confidence '
        f'1. 0: the distance between neighbouring places, at least {LEAST_SPACING_M} m.',
        0.0,
        1000.0,
    )
    yaw_stddev: float = _live(
        0.5,
        'Standard deviation of the heading in ~/pose, in radians, for a match with confidence 1.',
        0.01,
        3.15,
    )
    image_timeout_s: float = _live(
        5.0,
        'Time in seconds without a usable image after which the diagnostics warn. ~/relocalize '
        'refuses a last match that is older.',
        0.1,
        3600.0,
    )
    max_blur: float = _live(
        MAX_BLUR,
        'Blur from 0 (sharp) to 1 above which an image is not matched. 1: all are matched.',
        0.0,
        1.0,
    )
    min_light: float = _live(
        MIN_LIGHT,
        'Brightness from 0 to 255. An image is not matched if 99 % of its pixels are darker than '
        'this. 0: all are matched.',
        0.0,
        255.0,
    )
    frozen_after: int = _live(
        10,
        'Number of equal images in a row after which the camera counts as frozen. A camera that '
        'has shown no noise (simulation) is excepted. 0: never.',
        0,
        10000,
    )
    load_timeout_s: float = _live(
        30.0,
        'Longest time in seconds that reading the network or the map from disk may take.',
        0.1,
        3600.0,
    )
    autostart: bool = _parameter(True, 'Configure and activate the node when it starts.')
    on_start_failure: str = _parameter(
        'exit',
        'What the node does if its start fails: exit with status 1, retry every 5 s, or stay '
        'unconfigured.',
        choices=('exit', 'retry', 'stay'),
    )


def describe(spec: Field) -> str:
    """Meaning, choices or range, and default of a field of `Parameters`, in sentences."""
    about = spec.metadata
    default = ','.join(spec.default) if isinstance(spec.default, tuple) else str(spec.default)
    default = default.lower() if isinstance(spec.default, bool) else default or 'empty'
    low, high = about['range']
    allowed = '' if low is None else f' Range: {low} to {high}.'
    if about['choices']:
        allowed = f' Choices: {", ".join(about["choices"])}.'
    return f'{about["meaning"]}{allowed} Default: {default}.'


def shown(value: object) -> str:
    """A value that is refused, for a line."""
    return f'"{name_of(value)}"' if isinstance(value, str) else name_of(str(value))


def not_a(kind: type, value: object) -> str:
    """What is wrong with a value that must be of a kind of `TYPE_NAMES`."""
    return f'{shown(value)}; it must be {TYPE_NAMES[kind]}'


def fault_of(spec: Field, value: object) -> str:
    """What is wrong with a value for a field of `Parameters`; '' if nothing is."""
    kind, (low, high), choices = (
        type(spec.default),
        spec.metadata['range'],
        spec.metadata['choices'],
    )
    if kind is float and type(value) is int:
        return f'the integer {value}; write {value}.0'
    if kind is tuple:
        fits = isinstance(value, Sequence) and all(isinstance(v, str) for v in value)
        fits = fits and not isinstance(value, str)
    else:
        fits = type(value) is kind
    if not fits:
        return not_a(kind, value)
    if choices and value not in choices:
        return f'{shown(value)}; it must be {" or ".join(choices)}'
    if low is not None and not low <= value <= high:  # NaN as well
        return f'{shown(value)}; it must be from {low} to {high}'
    return ''
