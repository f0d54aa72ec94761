# SPDX-License-Identifier: Apache-2.0
"""Write the generated parts of doc/: tables, help texts and pictures of the storeys.

python -m tools.documentation           writes them
python -m tools.documentation --check   lists those that differ from the code; then status 1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.documentation.generated import out_of_step, write

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m tools.documentation',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--check', action='store_true', help='write nothing, list what differs')
    args = parser.parse_args(argv)
    if args.check:
        late = out_of_step(ROOT)
        print('\n'.join(late) if late else 'doc/ is in step with the code')
        return 1 if late else 0
    for line in write(ROOT):
        print(f'left as it is: {line}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
