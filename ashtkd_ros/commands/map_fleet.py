# SPDX-License-Identifier: Apache-2.0
"""Subcommands of map_tools for the map of a fleet, which lies in Milvus."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.index_options import add_index_options, index_of
from ashtkd_ros.commands.map_content import add_area, check_area
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.build_summary import index_lines
from ashtkd_ros.mapping.revision import drawn, target_of
from ashtkd_ros.maps.folder import check_target
from ashtkd_ros.maps.milvus_map import MilvusRows, opened
from ashtkd_ros.maps.milvus_push import check_place, push
from ashtkd_ros.maps.milvus_store import Address, is_address
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.thumbnails import THUMBNAILS
from ashtkd_ros.text import counted

_ADDRESS = (
    'milvus://HOST:PORT/NAME, a collection of a server, or milvus://PATH.db/NAME, of Milvus '
)
_ADDRESS += 'Lite'


def map_output(text: str) -> Path | str:
    """Type of an argument: a folder, or the address of a collection."""
    return text if is_address(text) else Path(text)


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parsers to those of map_tools."""
    parser = commands.add_parser(
        'push',
        help="write a map to the fleet's, which lies in Milvus",
        description='Write a map to a collection of Milvus, whole or not at all. Needs pip '
        'install "pymilvus[milvus-lite]". MILVUS_TOKEN: the token or USER:PASSWORD of a '
        'server that asks for one.',
    )
    parser.set_defaults(run=_push)
    parser.add_argument('map', type=Path, help='folder of the map')
    parser.add_argument('address', help=_ADDRESS)
    text = 'replace the map that is there; a collection of somebody else never'
    parser.add_argument('--replace', action='store_true', help=text)
    parser = commands.add_parser(
        'pull',
        help="bring the fleet's map, or a part of it, from Milvus into a folder",
        description='Bring a map, or a part of it, from a collection of Milvus into a folder: an '
        'ordinary map, which a robot loads without Milvus. Places keep their numbers.',
    )
    parser.set_defaults(run=_pull)
    parser.add_argument('address', help=_ADDRESS)
    text = 'folder of the map'
    parser.add_argument('-o', '--out', type=Path, required=True, help=text)
    add = parser.add_mutually_exclusive_group().add_argument
    add_area(add, 'only ')
    text = 'replace a map that is in the folder'
    parser.add_argument('--replace', action='store_true', help=text)
    add_index_options(parser)
    add_model_options(parser)


def build_for(out: Path | str, over: bool, build: Callable[[Path], int]) -> int:
    """Call `build` with the folder of a new map: `out`, or one whose map is pushed to the address
    `out` afterwards. `over`: that may hold a map. Returns what `build` returns."""
    if not is_address(out):
        return build(out)
    address = Address.parse(out)
    check_place(address, over)  # before the work
    folder = Path(tempfile.mkdtemp(prefix='ashtkd_map_'))
    try:
        status = build(folder / 'map')
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        _pushed(folder / 'map', address, over)
    except BaseException:
        print_notes(f'the new map is in {folder / "map"}; map_tools push brings it to {address}')
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return status


def _push(args: argparse.Namespace) -> int:
    _pushed(args.map, Address.parse(args.address), args.replace)
    return 0


def _pushed(folder: Path, address: Address, over: bool) -> None:
    place_map = PlaceMap.load(folder, pictures=True, without_damaged=True)
    print_notes(*place_map.warnings)
    done = push(place_map, address, over)
    print_lines(f'{address}: {counted(len(place_map.places), "picture")} of places')
    if done.pictures:
        print_notes(f'{counted(done.pictures, "JPEG")} too large for Milvus: left out')
    for name in done.strays:
        print_notes(f'{name}: another push is at work, or was killed; then drop this collection')


def _pull(args: argparse.Namespace) -> int:
    check_area(args)
    address = Address.parse(args.address)
    over = None if args.replace else target_of(None, args.out).over
    check_target(args.out)
    embedder = load_embedder(args)
    with opened(address, embedder) as source, tempfile.TemporaryDirectory() as folder:
        rows = _chosen(source, args)
        if not len(rows):
            raise VprError(f'{address}: has no place there; choose another area')
        place_map = source.pulled(rows, Path(folder), index_of(args))
        with drawn(place_map.places, place_map.info.frame) as route:
            place_map.save(args.out, Path(folder, THUMBNAILS), route, over)
    done = f'{args.out}: {len(rows)} of {counted(len(source), "picture")} of places'
    print_lines(done, *index_lines(place_map.index))
    return 0


def _chosen(source: MilvusRows, args: argparse.Namespace) -> np.ndarray:
    """int64: the rows that are asked for."""
    if args.area:
        x0, y0, x1, y1 = args.area
        return source.near((min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1)))
    if not args.within:
        return np.arange(len(source))
    x, y, radius = args.within
    rows = source.near((x - radius, y - radius), (x + radius, y + radius))
    if not len(rows):
        return rows
    at = source.places(rows).positions
    return rows[np.hypot(at[:, 0] - x, at[:, 1] - y) <= radius]
