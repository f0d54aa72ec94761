# SPDX-License-Identifier: Apache-2.0
"""A network in ONNX Runtime, on the first of the given providers that works, now and later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime

from ashtkd_ros.network.providers import CPU, RuntimeOptions, candidates, first_line, start


class _Opened(NamedTuple):
    provider: str
    following: list[str]  # the providers that are left if this one fails
    network: onnxruntime.InferenceSession
    single: bool  # whether it takes only one image at a time


class Session:
    """The network in an ONNX file's bytes, ready to run, also from several threads at once.

    A provider that does not start, or that fails while it runs, gives way to the next one, the
    CPU in the end. `warnings` says why. Only `notify` is told if one that `auto` stands for does
    not start: it may be installed where its device is missing. `warn` is called with each of
    `warnings`, `notify` also before something that takes minutes. VprError for an unknown
    provider; the error of ONNX Runtime if the CPU cannot load the network.
    """

    def __init__(
        self,
        data: bytes,
        options: RuntimeOptions,
        notify: Callable[[str], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ):
        self._data, self._options = data, options
        self._notify, self._warn = notify or _ignore, warn or _ignore
        self._lock = threading.Lock()
        self.warnings: list[str] = []
        names, missing = candidates(options.providers)
        for line in missing:
            self._add_warning(line)
        self._opened = self._open(names)

    @property
    def provider(self) -> str:
        """The active execution provider."""
        return self._opened.provider

    @property
    def network(self) -> onnxruntime.InferenceSession:
        """The open network, to be asked for its inputs, outputs and metadata."""
        return self._opened.network

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs for arrays of N rows by name, N rows each.

        Other providers than the CPU give way if they fail, or give numbers that are not finite.
        The CPU's error is raised.
        """
        while True:
            opened = self._opened
            try:
                arrays = _run(opened, outputs, feeds)
            except Exception as error:  # onnxruntime's own exceptions share no public base
                if not self._give_way(opened, first_line(error)):
                    raise
                continue
            if opened.provider == CPU or _all_finite(arrays):
                return arrays
            self._give_way(opened, 'it gives numbers that are not finite')

    def _give_way(self, failed: _Opened, reason: str) -> bool:
        """Open the network on the next provider; False if there is none.

        If several threads find the same failure, the first of them does it for all.
        """
        if not failed.following:
            return False
        with self._lock:
            if self._opened is failed:
                opened = self._open(failed.following)
                self._add_warning(
                    f'{failed.provider} failed while it ran ({reason}); '
                    f'{opened.provider} is used instead'
                )
                self._opened = opened
        return True

    def _open(self, names: list[str]) -> _Opened:
        """The network on the first of the providers that works; the last is the CPU."""
        for i, name in enumerate(names[:-1]):
            try:
                return self._start(names[i:])
            except Exception as error:  # as above
                why = first_line(error)
            line = f'{name} does not work ({why}); {names[i + 1]} is tried instead'
            if name in self._options.providers:
                self._add_warning(line)
            else:
                self._notify(line)
        opened = self._start([CPU])
        self._data = b''  # nothing comes after the CPU
        return opened

    def _start(self, names: list[str]) -> _Opened:
        network = start(self._data, names, self._options, self._notify)
        ends = (*network.get_inputs()[:1], *network.get_outputs()[:1])
        single = any(list(end.shape or ())[:1] == [1] for end in ends)
        return _Opened(names[0], names[1:], network, single)

    def _add_warning(self, line: str) -> None:
        self.warnings.append(line)
        self._warn(line)


def _run(
    opened: _Opened, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    count = len(next(iter(feeds.values())))
    if not opened.single or count == 1:
        return opened.network.run(outputs, dict(feeds))
    rows = [
        opened.network.run(outputs, {name: array[i : i + 1] for name, array in feeds.items()})
        for i in range(count)
    ]
    return [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]


def _all_finite(arrays: Sequence[object]) -> bool:
    numbers = (a for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind == 'f')
    return all(np.isfinite(array).all() for array in numbers)


def _ignore(line: str) -> None:
    """Tell nobody."""
