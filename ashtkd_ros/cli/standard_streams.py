# SPDX-License-Identifier: Apache-2.0
"""Standard input, output and error of a process that was started without them."""

from __future__ import annotations

import contextlib
import os
import sys

_MODES = {'stdin': 'r', 'stdout': 'w', 'stderr': 'w'}


def open_standard_streams() -> None:
    """Open to nowhere what is closed of them, as by `>&-`.

    The next file that is opened would get the number of a closed one, and what libraries print
    would be written into it.
    """
    for number, (name, mode) in enumerate(_MODES.items()):
        with contextlib.suppress(OSError):
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115
