# SPDX-License-Identifier: Apache-2.0
"""Threads with names that `top -H` shows; Python itself names them only from version 3.14 on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread; the kernel shows `name` as well (its first 15 characters)."""

    def run() -> None:
        with contextlib.suppress(OSError):
            Path(f'/proc/self/task/{threading.get_native_id()}/comm').write_text(name)
        target()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
