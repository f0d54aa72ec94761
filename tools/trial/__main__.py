# SPDX-License-Identifier: Apache-2.0
"""An outdoor trial without a field: a simulated robot in the rendered town, and what goes wrong.

    python -m tools.trial                 (make trial)

A trial by day is recorded and a map is built of it; trials at dusk, by night and in rain are
driven against the map, with the faults of tools/trial/faults.yaml. Then one report over all is
written. Each fault must be named in it within 0.1 minutes, else the exit status is 1.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import make_output_folder, resolved
from ashtkd_ros.maps.folder import check_target
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.overview_page import check_overview
from tools.trial.driving import drive
from tools.trial.named import named_in
from tools.trial.operator import Operator
from tools.trial.plan import PLAN, PlannedTrial, read_plan
from tools.trial.steps import build_map, write_reports
from tools.trial.supervised import LOG, Site
from tools.trial.verdict import Injected, judge, unexplained
from tools.trial.walks import walks_for

_MAPS, _OVERVIEW = ('map', 'other_map'), 'overview.html'
_COARSE_M = 15.0  # between the places of the map that the operator swaps the map with
Driven = tuple[TrialFolder, list[Injected]]
Walks = Mapping[str, Path]  # condition → folder


@contextlib.contextmanager
def _step(text: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    begun = time.monotonic()
    yield
    print_lines(f'{text}: {time.monotonic() - begun:.0f} s')


def _check(out: Path) -> None:
    """VprError, before anything is begun, where something of the user's would be in the way."""
    make_output_folder(out)
    for name in _MAPS:
        check_target(out / name)
    check_overview(out / _OVERVIEW)


def run(trials: Sequence[PlannedTrial], walks: Walks, out: Path) -> list[Driven]:
    """Drive and map; the trials that were driven, in order. Errors as `drive`."""
    with ros_session([]), contextlib.closing(Operator()) as operator:
        return _drive_all(trials, walks, out, operator)


def _drive_all(
    trials: Sequence[PlannedTrial], walks: Walks, out: Path, operator: Operator
) -> list[Driven]:
    site, driven = Site(out / 'trials'), []
    for number, planned in enumerate(trials):
        with _step(f'trial "{planned.name}" of {planned.seconds:.0f} s driven'):
            walk = walks[planned.condition]
            driven.append(drive(planned, walk, site, operator, seed=number))
        if site.place_map is None:
            with _step('two maps built'):
                site = _map(driven[-1][0], out)
    return driven


def _map(trial: TrialFolder, out: Path) -> Site:
    """The maps of a recorded trial: one to use, and one that a careless operator takes for it."""
    if not (bags := trial.bags()):
        raise VprError(f'{trial.path}: nothing was recorded; {LOG} in it tells why')
    place_map, other = (out / name for name in _MAPS)
    build_map(bags, place_map)
    build_map(bags, other, metres=_COARSE_M)
    return Site(trial.path.parent, place_map, other)


def conclude(driven: Sequence[Driven], overview: Path) -> bool:
    """Report, and print the faults found; whether all of them are named."""
    with _step('reports written'):
        figures = write_reports([folder.path for folder, _ in driven], overview)
    print_lines(*figures)
    complete = True
    for folder, injected in driven:
        events = named_in(folder)
        print_lines(f'trial {folder.path.name}')
        for verdict in judge(injected, events):
            print_lines(f'  {verdict.line()}')
            complete = complete and verdict.named is not None
        for event in unexplained(injected, events):
            print_lines(f'  not made by us, minute {event.minute:.2f}: "{event.text}"')
    print_lines(f'overview: {overview}')
    return complete


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    text = 'folder for walks, maps, trials and overview.html (default: %(default)s)'
    add('-o', '--out', type=Path, default=Path('trial_output'), help=text)
    text = 'what is driven, and what goes wrong when, as YAML (default: tools/trial/faults.yaml)'
    add('--plan', type=Path, default=PLAN, help=text)
    args = parser.parse_args(argv)
    begun, trials, out = time.monotonic(), read_plan(args.plan), resolved(args.out)
    _check(out)
    with _step('walks rendered'):
        walks = walks_for({t.condition for t in trials}, out / 'walks')
    driven = run(trials, walks, out)
    complete = conclude(driven, out / _OVERVIEW)
    print_lines(f'all of it: {time.monotonic() - begun:.0f} s')
    if not complete:
        raise VprError('a fault is not named in the reports, see NOT NAMED above')
    return 0


if __name__ == '__main__':
    run_command(main)
