# SPDX-License-Identifier: Apache-2.0
"""vpr_node whose maps, disk and network misbehave as files in $ODDITIES say; run as a module.

`spoil`: Python that changes `loaded`, a map that has just been loaded. `stall`: while the file is
there, whatever is opened, looked at or read at a position under the path that it holds waits.
`vector`: Python that changes `vector`, the network's output. `activate`: Python that runs when the
node subscribes; `make`: while it is made.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.ros.node import parameter_values
from ashtkd_ros.ros.node.image_subscription import ImageSubscription
from ashtkd_ros.ros.node.vpr_node import main

ODDITIES = os.fspath(Path(os.environ['ODDITIES']))
_open, _stat, _pread, _preadv = os.open, os.stat, os.pread, os.preadv
_load, _infer = PlaceMap.load, Embedder._infer
_start, _declare = ImageSubscription.start, parameter_values.declare


def text_of(name: str) -> str:
    try:
        handle = _open(os.path.join(ODDITIES, name), os.O_RDONLY)
    except OSError:
        return ''
    with open(handle) as file:
        return file.read()


def stalling(call):
    def wrapped(path, *args, **kwargs):
        while not isinstance(path, int) and (stalled := text_of('stall')):
            if not os.fspath(path).startswith(stalled):
                break
            time.sleep(0.05)
        return call(path, *args, **kwargs)

    return wrapped


def stalling_read(call):
    def wrapped(handle, *args):
        stalling(lambda path: path)(os.readlink(f'/proc/self/fd/{handle}'))
        return call(handle, *args)

    return wrapped


def load(folder, embedder=None, pictures=False):
    loaded = _load(folder, embedder, pictures)
    exec(text_of('spoil'), {'loaded': loaded, 'np': np})
    return loaded


def infer(self, outputs, blob):
    found = _infer(self, outputs, blob)
    if change := text_of('vector'):
        found[0] = eval(change, {'vector': found[0], 'np': np})
    return found


def start(self, *args):
    exec(text_of('activate'))
    _start(self, *args)


def declare(node):
    exec(compile(text_of('make'), 'make', 'exec'))  # a text's KeyboardInterrupt ends Python
    _declare(node)


os.open, os.stat = stalling(_open), stalling(_stat)
os.pread, os.preadv = stalling_read(_pread), stalling_read(_preadv)
PlaceMap.load, Embedder._infer, ImageSubscription.start = load, infer, start
parameter_values.declare = declare

if __name__ == '__main__':
    main()
