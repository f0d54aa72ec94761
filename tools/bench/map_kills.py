# SPDX-License-Identifier: Apache-2.0
"""build_map killed again and again (SIGKILL): no kill may leave a map that does not load.

    python -m tools.bench.map_kills --kills 200

Two maps of the rendered town take turns in one folder. Half of the kills come at a random moment
of the build, half while the finished map is put in place. After each, the map that is there is
loaded and checked whole, and must be one of the two to the byte; the next call must go on with the
places that the killed one has noted down.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.child_process import ChildProcess, child_process
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.shipped_model import shipped_model
from tools.town import DAY

_KINDS = (['--keyframes', 'all'], ['--keyframes', 'distance', '--metres', '3'])
_LONGEST_S, _PAUSE_S, _SAVE_S = 600.0, 0.001, 0.6


class Target:
    """A folder in which two maps take turns, and what it must hold."""

    def __init__(self, folder: Path, model: Path, threads: int):
        self.out, self.kind = folder / 'map', 0
        self.options = ['-o', str(self.out), '--model', str(model), '--threads', str(threads)]
        self.expected, self.seconds = [], 0.0
        for kind in range(len(_KINDS)):
            self.kind, started = kind, time.perf_counter()
            with self.build() as child:
                if child.process.wait(_LONGEST_S):
                    raise child.failure()
            self.seconds = max(self.seconds, time.perf_counter() - started)
            self.expected.append(bytes_of(self.out))

    def build(self) -> AbstractContextManager[ChildProcess]:
        """A process that builds the map whose turn it is."""
        command = [sys.executable, '-m', 'ashtkd_ros.commands.build_map', str(DAY)]
        command += [*self.options, *_KINDS[self.kind]]
        return child_process('build_map', command)

    def is_saving(self) -> bool:
        """Whether a finished map is being put in place."""
        return any(self.out.parent.glob('.map.*.new'))

    def noted(self) -> int:
        """How many places the journal has."""
        try:
            return (self.out.parent / '.map.building' / 'places.jsonl').read_bytes().count(b'\n')
        except FileNotFoundError:
            return 0


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a map."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def kill_once(target: Target, choose: random.Random) -> bool:
    """Start a build and kill it; whether it was killed, and had not ended before."""
    saving = choose.random() < 0.5
    deadline = time.monotonic() + (_LONGEST_S if saving else choose.uniform(0, target.seconds))
    with target.build() as child:
        while not child.has_ended and time.monotonic() < deadline:
            if saving and target.is_saving():
                time.sleep(choose.uniform(0, _SAVE_S))
                break
            time.sleep(_PAUSE_S)
        child.process.kill()
        if child.process.wait() > 0:
            raise child.failure()
    return child.process.returncode < 0


def check(target: Target) -> int:
    """Which of the two maps is there; VprError where it is none, or does not load."""
    PlaceMap.load(target.out, pictures=True)
    found = bytes_of(target.out)
    if found not in target.expected:
        raise VprError(f'{target.out}: loads, but is neither of the two maps')
    return target.expected.index(found)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    text = 'number of kills (default: %(default)d)'
    parser.add_argument('--kills', type=positive_count, default=20, help=text)
    add_model_options(parser)
    args = parser.parse_args(argv)
    local = load_embedder(args).local
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder), args.model or shipped_model(), args.threads)
        seen, resumed, choose = Counter(), 0, random.Random(11)
        target.kind = 0
        while seen['kills'] < args.kills:
            before = target.noted()
            killed = kill_once(target, choose)
            seen['kills'] += killed
            there, after = check(target), target.noted()
            seen['the new map is there'] += killed and there == target.kind
            seen['the old map is there'] += killed and there != target.kind
            resumed += killed and 0 < before <= after
            if there != target.kind and after < before:
                raise VprError(f'{before} places were noted down, {after} are left')
            if not killed:
                target.kind = 1 - target.kind
    print(f'local features of a place: {local or "none"}')
    print(', '.join(f'{count} {name}' for name, count in seen.items()))
    print(f'every map loads; {resumed} of the killed builds went on with places of one before')
    return 0


if __name__ == '__main__':
    run_command(main)
