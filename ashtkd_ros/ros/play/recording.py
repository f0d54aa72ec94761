# SPDX-License-Identifier: Apache-2.0
"""Recording of what a node answers to a source, and the file that `evaluate --answers` reads."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ashtkd_ros.cli.child_process import ChildProcess
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.machine import measured_on
from ashtkd_ros.evaluation.metrics import RECALL_AT
from ashtkd_ros.evaluation.node_answers import SCHEMA_VERSION
from ashtkd_ros.files.writing import write_errors, write_text
from ashtkd_ros.maps.city import is_city
from ashtkd_ros.maps.map_files import map_checksum, place_count
from ashtkd_ros.maps.tiled_map import ALL_AT_ONCE
from ashtkd_ros.ros.play.node_graph import topics_of
from ashtkd_ros.ros.play.node_process import observed_node
from ashtkd_ros.ros.play.observer import Observer
from ashtkd_ros.ros.play.players import play, play_with_ros2
from ashtkd_ros.traverses.traverse import Playback

_PROGRESS_S = 10.0


@dataclass(frozen=True)
class RecordingOptions:
    """How a source is played to a node.

    `node`: full name of a node that is running already; empty: one is started with the map and
    the `model`, the shipped one if None, and its own defaults for `providers` if empty, and for
    `verify_top` and `sequence_length` if None. `player`: own or ros2. `rate`: how many times
    faster than recorded.
    """

    map_folder: Path
    player: str = 'own'
    rate: float = 1.0
    node: str = ''
    model: Path | None = None
    providers: tuple[str, ...] = ()
    verify_top: int | None = None
    sequence_length: int | None = None


def record_answers(source: Playback, options: RecordingOptions) -> dict[str, object]:
    """Play a source to a node; the document of its answers, see `answers_document`.

    VprError where a stamp does not tell an image from another, the node is not active, serves
    another map, ends or answers nothing, or the source cannot be played.
    """
    checksum, count = map_checksum(options.map_folder), check_stamps(source)
    with _observer_of(options, source.compressed) as observer:
        observer.wait_until_active()
        if options.node:
            check_served(options.node, observer.diagnostics, options.map_folder)
        check = _printing_progress(observer, count)
        if options.player == 'ros2':
            observer.any_stamp = True
            sent = play_with_ros2(source, observer.topic, options.rate, check)
        else:
            sent = play(observer, source, options.rate, check)
        observer.wait_for_answers(sent, check)
        observer.check_answered(sent)
    played = {'sent': sent, 'rate': options.rate, 'hz': source.hz}
    return answers_document(observer, played, source.path, options.map_folder, checksum)


@contextlib.contextmanager
def _observer_of(options: RecordingOptions, compressed: bool) -> Iterator[Observer]:
    if options.node:
        topics = topics_of(options.node, compressed)
        with contextlib.closing(Observer(topics, compressed)) as observer:
            yield observer
    else:
        given = {
            'model_path': options.model,
            'providers': options.providers,
            'verify_top': options.verify_top,
            'sequence_length': options.sequence_length,
        }
        with map_node(options.map_folder, compressed, **given) as (observer, _):
            yield observer


def map_node(
    map_folder: Path, compressed: bool, **given: object
) -> contextlib.AbstractContextManager[tuple[Observer, ChildProcess]]:
    """A node of a map, from which every candidate is wanted, however low its confidence.

    `given`: more of the node's parameters; those that are None or empty are left out.
    """
    parameters = {'map_path': map_folder, 'min_confidence': 0.0, 'top_k': max(RECALL_AT)}
    parameters |= {name: value for name, value in given.items() if value not in (None, '', ())}
    return observed_node(compressed, parameters)


def check_stamps(source: Playback) -> int:
    """How many images will be played; VprError where their stamps do not tell them apart.

    Nothing but its stamp tells which image an answer is about.
    """
    stamps = Counter(source.stamps())
    count = stamps.total()
    zero = stamps[0] if source.zero_is_unset else 0
    shared = sum(n for n in stamps.values() if n > 1)
    if zero or shared:
        what = f'{zero} of {count} images have stamp zero'
        if not zero:
            what = f'{shared} of {count} images have the same stamp as another one'
        raise VprError(f'{source.path}: {what}; evaluate offline, without the node')
    return count


def check_served(name: str, diagnostics: Mapping[str, str], folder: Path) -> None:
    """VprError where a node's diagnostics tell of another map than the one in `folder`.

    Of a city that is too large to be loaded whole, the node serves a part.
    """
    served, places = diagnostics.get('places in map'), place_count(folder)
    in_parts = is_city(folder) and places > ALL_AT_ONCE
    if served != str(places) and not in_parts:
        raise VprError(
            f'{name} serves {diagnostics.get("map")} of {served} places, {folder} has {places}; '
            'name the map that it serves'
        )


def _printing_progress(observer: Observer, count: int) -> Callable[[], None]:
    """`observer.check`, which now and then prints how many of `count` images are answered."""
    printed = time.monotonic()

    def check() -> None:
        nonlocal printed
        observer.check()
        if time.monotonic() >= printed + _PROGRESS_S:
            printed = time.monotonic()
            print_lines(f'{len(observer.answers)} of {count} images answered')

    return check


def answers_document(
    observer: Observer, played: Mapping[str, float], source: Path, map_folder: Path, checksum: str
) -> dict[str, object]:
    """What a file of answers holds.

    `played`: images `sent`, how many times faster than recorded (`rate`), and images per second
    (`hz`; 0: as recorded). `checksum`: of the map, before anything was played.
    """
    return {
        'schema_version': SCHEMA_VERSION,
        **played,
        'source': str(source.resolve()),
        'map': str(map_folder.resolve()),
        'map_sha256': checksum,
        'node': observer.diagnostics,
        'machine': measured_on(),
        'answers': [
            {'stamp_ns': stamp, **asdict(observer.answer_to(stamp))}
            for stamp in sorted(observer.answers)
        ],
    }


def write_answers(path: Path, answers: Mapping[str, object]) -> None:
    """Write the file as a whole or not at all; VprError where it cannot be written."""
    with write_errors(path, 'the file of answers'):
        write_text(path, json.dumps(answers) + '\n')
