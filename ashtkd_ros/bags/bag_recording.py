# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 that is being recorded: MCAP files one after the other, and their metadata.yaml."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ashtkd_ros.bags.bag_metadata import INFORMATION, bag_metadata, to_yaml
from ashtkd_ros.bags.bag_names import METADATA
from ashtkd_ros.bags.mcap_writer import McapPart, PartContent, RecordedTopic, check_library
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import cannot_write, resolved, write_text

_LARGEST = 3 * 10**9  # bytes of a file; FAT, on memory sticks, takes 4 GiB


class BagRecording:
    """A new bag in a new folder; VprError where there is something already, or it cannot be made.

    `split_s`: seconds of the machine's clock after which a new file is begun; 0: only when one is
    large. `messages` and `bytes`: of what was written. `trouble`: why the disk takes no more; None
    if it does.
    """

    def __init__(self, folder: Path, split_s: float = 0.0):
        check_library()
        self.folder, self._split_s = check_new_bag(folder), split_s
        self.messages = self.bytes = 0
        self._safe = 0  # messages that the kernel has
        self.trouble: OSError | None = None
        self._number, self._begun_s = 0, 0.0
        self._part: McapPart | None = None
        self._ending: McapPart | None = None  # ended, but the disk has not taken it all
        self._ended: list[PartContent] = []
        self._told = 0  # files in metadata.yaml
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error, 'the bag') from error
        self._begin()
        if self.trouble is not None:
            self.folder.rmdir()
            raise cannot_write(folder, self.trouble, 'the bag')

    @property
    def file(self) -> str:
        """Name of the file that is being written; empty if none is."""
        return '' if self._part is None else self._part.content.name

    def write(self, topic: RecordedTopic, received_ns: int, data: bytes) -> bool:
        """Add a message, in CDR; False where no file can be begun for it, see `trouble`."""
        if self._part is None:
            return False
        old = self._split_s and time.monotonic() >= self._begun_s + self._split_s
        if old or self._part.file.tell() >= _LARGEST:
            self.pause()
            if not self.resume():
                return False
        self._part.write(topic, received_ns, data)
        self.messages += 1
        self.bytes += len(data)
        self.trouble = self._part.file.refused
        return True

    def flush(self) -> None:
        """Hand everything to the kernel, which keeps it whatever happens to this process."""
        if self._part is not None:
            self._part.flush()
            self.trouble = self._part.file.refused
            if self.trouble is None:
                self._safe = self.messages

    def keep(self) -> None:
        """Have the disk itself keep what was flushed; see PatientFile."""
        if (part := self._part) is not None:
            part.file.keep()

    def pause(self) -> None:
        """End the file, so that it can be read; nothing is written until `resume`."""
        part, self._part = self._part, None
        if part is not None:
            distribution = os.environ.get('ROS_DISTRO', '')
            part.finish(to_yaml(bag_metadata([part.content], distribution)))
            self._ending = part
            self._settle()

    def resume(self) -> bool:
        """Go on with a new file; False where the disk does not take it, see `trouble`."""
        if self._part is None and self._settle():
            self._begin()
        return self._part is not None

    def give_up(self) -> int:
        """Leave the file that has ended as it is, cut; how many of its messages are lost.

        For a disk that refuses this file for ever. Readers of damaged files read it up to there.
        """
        ending, self._ending = self._ending, None
        if ending is None:
            return 0
        lost = self.messages - self._safe
        self.messages = self._safe
        with contextlib.suppress(OSError):
            ending.file.close()
        return lost

    def skip(self) -> int:
        """As `give_up`, but only where another file can be begun at once."""
        if self._ending is not None and self._part is None:
            self._begin()
        return self.give_up() if self._part is not None else 0

    def close(self) -> None:
        """End the bag; VprError where the disk does not take all of it."""
        self.pause()
        if not self._settle():
            raise cannot_write(self.folder, self.trouble, 'the end of the bag')

    def _begin(self) -> None:
        path = self.folder / f'{self.folder.name}_{self._number}.mcap'
        try:
            part = McapPart(path)
        except OSError as error:
            self.trouble = error
            return
        if part.file.refused is not None:  # there was room for its name alone
            self.trouble = part.file.refused
            part.file.close()
            path.unlink()
            return
        self._number += 1
        self._part, self._begun_s, self.trouble = part, time.monotonic(), None

    def _settle(self) -> bool:
        """Bring the file that has ended to its end, then metadata.yaml; whether all is there."""
        try:
            if self._ending is not None:
                self._ending.file.flush()
                if self._ending.file.refused is not None:
                    raise self._ending.file.refused
                self._ending.file.keep()
                self._ended.append(self._ending.content)
                ending, self._ending, self._safe = self._ending, None, self.messages
                ending.file.close()
            if self._told < len(self._ended):
                values = bag_metadata(self._ended, os.environ.get('ROS_DISTRO', ''))
                write_text(self.folder / METADATA, to_yaml({INFORMATION: values}))
                self._told = len(self._ended)
        except OSError as error:
            self.trouble = error
            return False
        self.trouble = None
        return True


def check_new_bag(folder: Path) -> Path:
    """The absolute path of a bag that is to be made.

    VprError where something is there, or the name cannot stand in metadata.yaml.
    """
    path = resolved(folder, 'the bag')
    if os.path.lexists(path):
        raise VprError(f'{folder}: exists already; give another name or remove it')
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise VprError(f'{folder}: its name is not UTF-8 text; give another name') from error
    return path
