# SPDX-License-Identifier: Apache-2.0
"""Threads that `top -H` and the load bench can tell apart; Python names its own from 3.14 on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """A running daemon thread of this name (15 characters), for the kernel too."""

    def run() -> None:
        with contextlib.suppress(OSError):
            Path(f'/proc/self/task/{threading.get_native_id()}/comm').write_text(name)
        target()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
