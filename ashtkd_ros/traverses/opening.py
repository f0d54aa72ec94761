# SPDX-License-Identifier: Apache-2.0
"""Which kinds of sources there are: a path, or what a map tells of one, leads to its class here.

The class of a kind is imported when a source of that kind is opened: who opens a folder, or reads
a map, loads no bag reader.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path

from ashtkd_ros.bags.bag_names import METADATA, ROS1_ENDINGS, ROS2_ENDINGS, is_bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.traverse import Originals, Traverse, TraverseOptions

_VIDEOS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm')


def _is_folder(path: Path) -> bool:
    return not os.path.isfile(path)  # what is not there is taken for a folder too


def _is_video(path: Path) -> bool:
    return Path(path).suffix.lower() in _VIDEOS and not os.path.isdir(path)


@dataclass(frozen=True)
class Kind:
    """A kind of source: the class `name` in `module`, told in map.yaml by having the entry `key`.

    `recognises`: whether a path is that of such a source, even if it is damaged or missing.
    `endings`: how the names of its files end. `is_quick`: whether the image of a place is read at
    once, without going through a recording.
    """

    key: str
    module: str
    name: str
    recognises: Callable[[Path], bool]
    endings: tuple[str, ...] = ()
    is_quick: bool = False

    def load(self) -> type[Traverse]:
        """The class, imported now."""
        return getattr(import_module(f'ashtkd_ros.traverses.{self.module}'), self.name)


# In the order in which they are asked. Of the last one map.yaml has no entry of its own.
KINDS = (
    Kind('image_topic', 'bag_traverse', 'BagTraverse', is_bag, (*ROS2_ENDINGS, *ROS1_ENDINGS)),
    Kind('video_bytes', 'video_traverse', 'VideoTraverse', _is_video, _VIDEOS),
    Kind('', 'folder_traverse', 'FolderTraverse', _is_folder, is_quick=True),
)
# Options for every kind; of the others each kind tells which it has: see `Traverse.accepted`.
_FOR_ALL = ('origin', 'bits', 'purpose')
# Names of files that tell what the folder around them is.
_WITHIN = (METADATA, 'poses.csv', 'index.csv')
_LOOKED_AT = 1000  # entries of a folder
# Those that choose images or poses, and are refused by a kind without them; others are noted.
_CHOOSING = ('role', 'image_topic', 'pose_topic', 'trajectory', 'labels', 'video_start')


def open_traverse(path: Path, options: TraverseOptions | None = None) -> Traverse:
    """A source of images; VprError if a path is not one, or if an option is for another kind."""
    path, options = Path(path), options or TraverseOptions()
    for kind in KINDS:
        if kind.recognises(path):
            opened = kind.load()
            notes = _check_options(path, opened, options) if os.path.exists(path) else []
            try:
                traverse = opened(path, options)
            except VprError as error:
                raise VprError(f'{error}{_sources_in(path)}') from error
            traverse.notes += notes
            return traverse
    from ashtkd_ros.bags.rosbag2 import misnamed

    if path.name in _WITHIN:
        raise VprError(f'{path}: is a part of a bag or folder; name the folder that it is in')
    endings = ', '.join(ending for kind in KINDS for ending in kind.endings)
    raise VprError(
        f'{path}: its ending is not one of {endings}{misnamed(path)}; name a source of images'
    )


def _sources_in(path: Path) -> str:
    """For an error: the sources that lie in a folder that is none itself; empty without any."""
    from ashtkd_ros.bags.channels import first_names

    def is_source(place: Path) -> bool:
        tables = (os.path.isfile(place / name) for name in _WITHIN)
        return is_bag(place) or _is_video(place) or any(tables)

    found: list[str] = []
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not is_source(path):
            found = [p.name for p in sorted(path.iterdir())[:_LOOKED_AT] if is_source(p)]
    return f'; it holds {first_names(found)}: name one of them' if found else ''


def _check_options(path: Path, opened: type[Traverse], options: TraverseOptions) -> list[str]:
    """Notes on options without effect on this source; VprError for those in `_CHOOSING`."""
    notes = []
    for field in fields(options):
        name = field.name
        if name in _FOR_ALL or getattr(options, name) == field.default:
            continue
        flag = f'--{name.removesuffix("_s").replace("_", "-")}'
        if name not in opened.accepted:
            classes = [kind.load() for kind in KINDS]
            owners = ' and '.join(f'{c.kind[2:]}s' for c in classes if name in c.accepted)
            if name in _CHOOSING:
                raise VprError(
                    f'{path}: {flag} is for {owners}, this is {opened.kind}; leave it out'
                )
            notes.append(f'{flag} is for {owners} and has no effect: this is {opened.kind}')
        elif name in opened.for_trajectories and options.trajectory is None:
            notes.append(
                f'{flag} is for the poses of a --trajectory and has no effect without one'
            )
    if options.trajectory is not None and options.pose_topic:
        notes.append('--pose-topic has no effect: the poses are those of the --trajectory')
    return notes


def open_traverses(sources: Sequence[Path], options: TraverseOptions) -> list[Traverse]:
    """Several sources for one map; what NavSatFix says is about the first one's origin.

    All are read with the bit depth of the one that uses most bits.
    """
    if options.trajectory is not None and len(sources) > 1:
        raise VprError('--trajectory belongs to one source; build a map of one, or use topics')
    traverses: list[Traverse] = []
    for number, source in enumerate(sources):
        traverses.append(open_traverse(source, options))  # tells what is no path at all
        if os.path.realpath(source) in map(os.path.realpath, sources[:number]):
            raise VprError(f'{source}: is named twice; name each source once')
        options = replace(options, origin=options.origin or traverses[-1].origin)
    for traverse in traverses:
        traverse.depth.raise_to(max(t.depth.bits for t in traverses))
    return traverses


def originals_of(description: Mapping) -> Originals:
    """The images of a traverse that a map describes; its source is opened when one is read."""
    return _kind_of(description).load().originals(description)


def quick_originals_of(description: Mapping) -> Originals | None:
    """As `originals_of`; None where reading one image may take long, as from a bag."""
    return originals_of(description) if _kind_of(description).is_quick else None


def images_described(description: Mapping) -> tuple[str, ...]:
    """What tells which images a described traverse has: its path, topic of the camera, role."""
    return tuple(str(description.get(key, '')) for key in ('source', 'image_topic', 'role'))


def _kind_of(description: Mapping) -> Kind:
    return next(kind for kind in KINDS if not kind.key or kind.key in description)
