# SPDX-License-Identifier: Apache-2.0
"""Subcommands of map_tools that take places from a map."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import count, finite, not_negative, share
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.errors import ArgumentError
from ashtkd_ros.mapping.dropping import EARLIEST, Selection, without
from ashtkd_ros.mapping.experiences import SamePlace
from ashtkd_ros.mapping.keyframes import KeyframeOptions, options_of
from ashtkd_ros.mapping.pruning import VIEWS, prune
from ashtkd_ros.mapping.revision import Target, copy_map, place_count, ranges, target_of
from ashtkd_ros.mapping.stand_ins import StandIns
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import MOST, Places
from ashtkd_ros.maps.places_rows import some_rows
from ashtkd_ros.text import counted

_MOST_IDS = 10**6


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parsers to those of map_tools."""
    _add_drop(commands)
    _add_prune(commands)


def add_map(parser: argparse.ArgumentParser) -> None:
    """The map that is changed, and where the result goes."""
    parser.add_argument('map', type=Path, help='folder of the map')
    text = 'folder of the changed map (default: it takes the place of the map)'
    parser.add_argument('-o', '--out', type=Path, help=text)


def _add_drop(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'drop',
        help='take places from a map',
        description='Take places from a map. What is chosen in several ways must fit all of them. '
        'The numbers of these places are never given again.',
    )
    parser.set_defaults(run=_drop)
    add_map(parser)
    add = parser.add_argument
    text = 'numbers of places, such as 3,7-12'
    add('--ids', type=id_ranges, help=text)
    add_area(add)
    text = 'pictures taken before a day or a time, such as 2026-03-31 or 2026-03-31T12:00, of UTC '
    text += f'unless it says another offset; a stamp before {EARLIEST.year} is no time and stays'
    add('--older-than', type=moment, metavar='TIME', help=text)
    add('--traverse', type=count, metavar='N', help='pictures of one traverse, as map.yaml counts')
    add('--dry-run', action='store_true', help='print what would go, and change nothing')


def add_area(add: Callable, only: str = '') -> None:
    """--area and --within; `only`: how their help begins."""
    text = f'{only}what lies between two opposite corners, metres in the frame of the map'
    add('--area', type=finite, nargs=4, metavar=('X0', 'Y0', 'X1', 'Y1'), help=text)
    text = f'{only}what lies around a point, metres in the frame of the map'
    add('--within', type=finite, nargs=3, metavar=('X', 'Y', 'RADIUS'), help=text)


def check_area(args: argparse.Namespace) -> None:
    """ArgumentError for an area in which nothing can lie."""
    if args.within and not args.within[2] > 0:
        raise ArgumentError('the area is empty: the radius of --within must be above 0')
    if args.area and (args.area[0] == args.area[2] or args.area[1] == args.area[3]):
        raise ArgumentError('the area is empty: its corners have one x or one y; give two')


def _drop(args: argparse.Namespace) -> int:
    check_area(args)
    selection = Selection(args.ids, args.area, args.within, args.older_than, args.traverse)
    if selection.is_empty:
        raise ArgumentError(
            'say what is to go: --ids, --area, --within, --older-than or --traverse'
        )
    target = target_of(args.map, args.out)
    place_map = PlaceMap.load(args.map, pictures=True, without_damaged=True)
    print_notes(*place_map.warnings)
    return _take_away(args, target, place_map, selection.of(place_map))


def _add_prune(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'prune',
        help='drop places that the map can do without',
        description='Drop pictures that the map can do without: those that never give a right '
        f'answer, and those that repeat others. Each picture of the map is changed {VIEWS} times '
        '(night, weather, blur, another viewpoint) and the map is asked where that was taken, by '
        'the descriptor alone. The share of right answers is printed before and after.',
    )
    parser.set_defaults(run=_prune)
    add_map(parser)
    add = parser.add_argument
    text = 'share of the right answers that must stay, 0 to 1 (default: %(default)g)'
    add('--keep-recall', type=share, default=0.99, help=text)
    add_same_place(parser, 'one repeats another')
    add('--dry-run', action='store_true', help='print what would go, and change nothing')
    add_model_options(parser)


def add_same_place(parser: argparse.ArgumentParser, what: str) -> None:
    """The options for when two pictures are of one place; `what`: what it is for."""
    add = parser.add_argument
    text = f'{what} that was taken closer than this, in metres (default: the --metres that the '
    add('--same-metres', type=not_negative, metavar='M', help=text + 'map was built with)')
    text = (
        f'{what} that was turned by less than this, in degrees (default: the --degrees that the '
    )
    add('--same-degrees', type=not_negative, metavar='D', help=text + 'map was built with)')


def same_place(args: argparse.Namespace, keyframes: KeyframeOptions) -> SamePlace:
    """What the command line says of it, or the map's own rule for keyframes."""
    metres, degrees = args.same_metres, args.same_degrees
    return SamePlace(
        keyframes.metres if metres is None else metres,
        keyframes.degrees if degrees is None else degrees,
    )


def _prune(args: argparse.Namespace) -> int:
    target, embedder = target_of(args.map, args.out), load_embedder(args)
    place_map = PlaceMap.load(args.map, embedder, pictures=True, without_damaged=True)
    print_notes(*place_map.warnings)
    keyframes = options_of(place_map.info.built)
    close = StandIns(place_map, same_place(args, keyframes), keyframes.similarity)
    found = prune(place_map, embedder, close, args.keep_recall, args.threads)
    recall = f'R@1 of {counted(found.asked, "changed picture")} {100 * found.before:.1f} %'
    if found.dropped.any():
        recall += f' before, {100 * found.after:.1f} % after'
    return _take_away(args, target, place_map, found.dropped, recall)


def _take_away(
    args: argparse.Namespace,
    target: Target,
    place_map: PlaceMap,
    dropped: np.ndarray,
    measured: str = '',
) -> int:
    """Save the map without the pictures `dropped`, bool (N,), or only tell what would go;
    `measured`: what the history tells beside it."""
    told = [measured] if measured else []
    if not dropped.any():
        if not args.dry_run:
            copy_map(place_map, target)
        said = '; '.join([f'nothing to drop, {staying(place_map.places)}', *told])
        print_lines(f'{args.map}: {said}')
        return 0
    revision, line = without(place_map, dropped), what_goes(place_map, dropped)
    if args.dry_run:
        print_lines(*(f'{args.map}: {text}' for text in (*told, f'would drop {line}')))
        return 0
    revision.save(target, args.command, args.given, place_map.places, measured)
    told.append(f'dropped {line}; {staying(revision.places)}')
    print_lines(*(f'{target.folder}: {text}' for text in told))
    return 0


def what_goes(place_map: PlaceMap, dropped: np.ndarray) -> str:
    """The pictures `dropped`, bool (N,), as text; those of places that stay are told apart."""
    places = place_map.places
    thinned = dropped & np.isin(places.ids, places.ids[~dropped])
    gone = some_rows(places, np.flatnonzero(dropped & ~thinned))
    parts = [f'{counted_places(gone)}, {_numbers(gone.ids)}'] if len(gone) else []
    if thinned.any():
        pictures = counted(int(thinned.sum()), 'picture')
        parts.append(f'{pictures} of places that have others, {_numbers(places.ids[thinned])}')
    return ' and '.join(parts)


def _numbers(ids: np.ndarray) -> str:
    return f'number{"s" if len(np.unique(ids)) > 1 else ""} {ranges(ids)}'


def counted_places(places: Places) -> str:
    """How many places, and how many pictures where those are more."""
    number = place_count(places)
    extra = f' ({counted(len(places), "picture")})' if len(places) != number else ''
    return counted(number, 'place') + extra


def staying(places: Places) -> str:
    """How many places stay, as a sentence."""
    return f'{counted_places(places)} {"stays" if place_count(places) == 1 else "stay"}'


def id_ranges(text: str) -> list[int]:
    """Type of an argument: numbers of places and ranges of them, separated by commas."""
    ids: set[int] = set()
    for part in text.split(','):
        found = re.fullmatch(r'\s*([0-9]{1,16})(?:-([0-9]{1,16}))?\s*', part)
        low, high = (int(n) for n in (found[1], found[2] or found[1])) if found else (1, 0)
        if not low <= high <= MOST or high - low >= _MOST_IDS:
            raise argparse.ArgumentTypeError(f'"{text}" is not numbers such as 3,7-12')
        ids.update(range(low, high + 1))
    return sorted(ids)


def moment(text: str) -> datetime:
    """Type of an argument: a day or a time as in ISO 8601, of UTC unless it has an offset."""
    try:
        time = datetime.fromisoformat(re.sub('Z$', '+00:00', text))  # Python 3.10 knows no Z
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        time.timestamp()
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as 2026-03-31') from error
    if time <= EARLIEST:
        raise argparse.ArgumentTypeError(f'"{text}" is before {EARLIEST.year}')
    return time
