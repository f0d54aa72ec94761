# SPDX-License-Identifier: Apache-2.0
"""Which kinds of sources there are: a path, or what a map tells of one, leads to its class here.

The class of a kind is imported when the first source of that kind is opened: who only reads a map
loads no bag reader.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.traverse import Originals, Traverse, TraverseOptions


@dataclass(frozen=True)
class Kind:
    """A kind of source: the class `name` in `module`, told in map.yaml by having the entry `key`.

    `is_quick`: whether the image of a place is read at once, without going through a recording.
    """

    key: str
    module: str
    name: str
    is_quick: bool = False

    def load(self) -> type[Traverse]:
        """The class, imported now."""
        return getattr(import_module(f'ashtkd_ros.traverses.{self.module}'), self.name)


# In the order in which they are asked. Of the last one map.yaml has no entry of its own.
KINDS = (
    Kind('image_topic', 'bag_traverse', 'BagTraverse'),
    Kind('video', 'video_traverse', 'VideoTraverse'),
    Kind('', 'folder_traverse', 'FolderTraverse', is_quick=True),
)
# The options that are for some kinds only.
_FOR = {
    'role': 'folders with an index.csv',
    'image_topic': 'bags',
    'pose_topic': 'bags',
    'trajectory': 'bags and videos',
    'labels': 'bags and videos',
    'video_start': 'videos',
}
_KNOWN = 'a bag is a folder, or a .db3, .mcap or .bag file'
_KNOWN += '; a video is a .mp4, .mov, .avi, .mkv or .webm file'


def open_traverse(path: Path, options: TraverseOptions | None = None) -> Traverse:
    """A source of images; VprError if a path is not one, or if an option is for another kind."""
    path, options = Path(path), options or TraverseOptions()
    for kind in KINDS:
        opened = kind.load()
        if opened.recognises(path):
            if os.path.exists(path):
                _check_options(path, opened, options)
            return opened(path, options)
    from ashtkd_ros.bags.rosbag2 import misnamed

    raise VprError(f'{path}: is neither a bag nor a video; {_KNOWN}{misnamed(path)}')


def _check_options(path: Path, opened: type[Traverse], options: TraverseOptions) -> None:
    """VprError where an option is given that is for another kind of source."""
    for name, owners in _FOR.items():
        if name not in opened.accepted and asdict(options)[name]:
            flag = f'--{name.replace("_", "-")}'
            raise VprError(f'{path}: {flag} is for {owners}, this is {opened.kind}')


def open_traverses(sources: Sequence[Path], options: TraverseOptions) -> list[Traverse]:
    """Several sources for one map; what NavSatFix says is about the first one's origin.

    All are read with the bit depth of the one that uses most bits.
    """
    if options.trajectory is not None and len(sources) > 1:
        raise VprError('--trajectory belongs to one source; build a map of one, or use topics')
    traverses: list[Traverse] = []
    for source in sources:
        traverses.append(open_traverse(source, options))
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
