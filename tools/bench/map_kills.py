# SPDX-License-Identifier: Apache-2.0
"""Commands that write maps killed again and again (SIGKILL): a map must load after each kill.

    python -m tools.bench.map_kills

The commands are build_map, by which two maps of the rendered town take turns in one folder, and
append, merge and drop of map_tools, which change the map of one walk. Half of the kills come at a
random moment of the command, half while the finished map is put in place. After each, the map that
is there is loaded and checked whole, and must be the one before or the one after, to the byte
except for the time in its history; the next call must go on with the places that the killed one
has noted down.
"""

from __future__ import annotations

import random
import re
import shutil
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
from ashtkd_ros.maps.folder import DESCRIPTION
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.shipped_model import shipped_model
from tools.town import DAY, DUSK

COMMANDS = ('build_map', 'append', 'merge', 'drop')
_KINDS = (['--keyframes', 'all'], ['--keyframes', 'distance', '--metres', '3'])
_LONGEST_S, _PAUSE_S, _SAVE_S = 600.0, 0.001, 0.6
_DIFFERS = re.compile(rb"^ *when: '.*'$|^checksum: .*$", re.MULTILINE)  # in each map.yaml
Files = dict[str, bytes]


class Target:
    """A command that writes the map in `out`: what is there `before` and `after`, None: nothing.

    `model`: options for the network, of all commands but drop.
    """

    name, program = 'build_map', 'build_map'

    def __init__(self, folder: Path, model: list[str]):
        self.out, self.model, self.kind = folder / 'map', model, 0
        self.seconds = 0.0
        self.expected: list[Files | None] = []
        for _ in _KINDS:
            self.run()
            self.expected.append(bytes_of(self.out))
            self.kind = 1 - self.kind

    def arguments(self) -> list[str]:
        """Of the command."""
        return [str(DAY), '-o', str(self.out), *self.model, *_KINDS[self.kind]]

    @property
    def before(self) -> Files | None:
        return self.expected[1 - self.kind]

    @property
    def after(self) -> Files | None:
        return self.expected[self.kind]

    def next(self) -> None:
        """The command has come to its end, and is to be run anew: now for the other map."""
        self.kind = 1 - self.kind

    def start(self) -> AbstractContextManager[ChildProcess]:
        """A process that runs the command."""
        module = f'ashtkd_ros.commands.{self.program}'
        return child_process(self.name, [sys.executable, '-m', module, *self.arguments()])

    def run(self) -> None:
        """Run the command to its end."""
        started = time.perf_counter()
        with self.start() as child:
            if child.process.wait(_LONGEST_S):
                raise child.failure()
        self.seconds = max(self.seconds, time.perf_counter() - started)

    def is_saving(self) -> bool:
        """Whether a finished map is being put in place."""
        return any(self.out.parent.glob(f'.{self.out.name}.*.new'))

    def noted(self) -> int:
        """How many places the journal has."""
        journal = self.out.parent / f'.{self.out.name}.building' / 'places.jsonl'
        try:
            return journal.read_bytes().count(b'\n')
        except FileNotFoundError:
            return 0


class Change(Target):
    """A subcommand of map_tools that changes the map of one walk, or makes one of two maps."""

    program = 'map_tools'

    def __init__(self, name: str, folder: Path, model: list[str]):
        self.name, self.model, self.seconds = name, model, 0.0
        self._base, self._other = folder / 'base', folder / 'other'
        self.out = folder / 'changed'
        for walk, base in ((DAY, self._base), (DUSK, self._other)):
            command = [sys.executable, '-m', 'ashtkd_ros.commands.build_map', str(walk)]
            with child_process('build_map', [*command, '-o', str(base), *model]) as child:
                if child.process.wait(_LONGEST_S):
                    raise child.failure()
        self.next()
        self._before = bytes_of(self.out)
        self.run()
        self._after = bytes_of(self.out)
        self.next()

    def arguments(self) -> list[str]:
        """Of the subcommand."""
        return {
            'append': ['append', str(self.out), str(DUSK), *self.model],
            'merge': ['merge', str(self._base), str(self._other), '-o', str(self.out)]
            + self.model,
            'drop': ['drop', str(self.out), '--ids', '3,20-60'],
        }[self.name]

    @property
    def before(self) -> Files | None:
        return self._before

    @property
    def after(self) -> Files | None:
        return self._after

    def next(self) -> None:
        """Put there what was there before."""
        if self.out.exists():
            shutil.rmtree(self.out)
        if self.name != 'merge':
            shutil.copytree(self._base, self.out)


def bytes_of(folder: Path) -> Files | None:
    """Every file of a map, without what differs from call to call; None where there is none."""
    if not folder.exists():
        return None
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    return {name: _DIFFERS.sub(b'', x) if name == DESCRIPTION else x for name, x in found.items()}


def kill_once(target: Target, choose: random.Random) -> bool:
    """Start the command and kill it; whether it was killed, and had not ended before."""
    saving = choose.random() < 0.5
    deadline = time.monotonic() + (_LONGEST_S if saving else choose.uniform(0, target.seconds))
    with target.start() as child:
        while not child.has_ended and time.monotonic() < deadline:
            if saving and target.is_saving():
                time.sleep(choose.uniform(0, _SAVE_S))
                break
            time.sleep(_PAUSE_S)
        child.process.kill()
        if child.process.wait() > 0:
            raise child.failure()
    return child.process.returncode < 0


def check(target: Target) -> bool:
    """Whether the new map is there; VprError where it is neither, or does not load."""
    if target.before is not None or target.out.exists():
        PlaceMap.load(target.out, pictures=True)
    found = bytes_of(target.out)
    if found not in (target.before, target.after):
        raise VprError(f'{target.out}: loads, but is neither the old map nor the new one')
    return found == target.after


def kill_often(target: Target, kills: int, choose: random.Random) -> Counter:
    """What was seen after so many kills; VprError where a map is not as it must be."""
    seen: Counter[str] = Counter()
    while seen['kills'] < kills:
        before = target.noted()
        killed = kill_once(target, choose)
        seen['kills'] += killed
        is_new, after = check(target), target.noted()
        seen['the new map is there'] += killed and is_new
        seen['the old map is there'] += killed and not is_new
        seen['went on with places of one before'] += killed and 0 < before <= after
        if not is_new and after < before:
            raise VprError(f'{before} places were noted down, {after} are left')
        if not killed or (is_new and isinstance(target, Change)):
            target.next()
    return seen


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    text = 'number of kills of all commands together (default: %(default)d)'
    parser.add_argument('--kills', type=positive_count, default=200, help=text)
    text = 'commands that are killed (default: all)'
    parser.add_argument('--commands', nargs='+', choices=COMMANDS, default=COMMANDS, help=text)
    add_model_options(parser)
    args = parser.parse_args(argv)
    print(f'local features of a place: {load_embedder(args).local or "none"}')
    model = ['--model', str(args.model or shipped_model()), '--threads', str(args.threads)]
    for name in args.commands:
        kills = -(-args.kills // len(args.commands))
        with tempfile.TemporaryDirectory() as folder:
            kind = Target if name == 'build_map' else Change
            first = () if kind is Target else (name,)
            target = kind(*first, Path(folder), model)
            seen = kill_often(target, kills, random.Random(11))
        print(
            f'{name}: ' + ', '.join(f'{count} {what}' for what, count in seen.items()), flush=True
        )
    print('every map loads')
    return 0


if __name__ == '__main__':
    run_command(main)
