# SPDX-License-Identifier: Apache-2.0
"""vpr_node that writes modules.txt, what it has imported, when it ends; run as a module."""

from __future__ import annotations

import sys
from pathlib import Path

from ashtkd_ros.ros.node.vpr_node import main

if __name__ == '__main__':
    try:
        main()
    finally:
        Path('modules.txt').write_text('\n'.join(sorted(sys.modules)))
