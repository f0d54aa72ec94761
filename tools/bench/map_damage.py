# SPDX-License-Identifier: Apache-2.0
"""Every file of a map damaged at random: each damage must be found on load, and its file named.

    python -m tools.bench.map_damage

Maps of the rendered town by each kind of index. In every file single bytes are changed, it is cut
off, made longer, swapped with the file of the same name of another map and with other files of its
own, and taken away; and map.yaml says a newer format, with its checksum right. Of the maps with a
compressed index the files that only they have are damaged.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import with_checksum
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.mapping.keyframes import KeyframeOptions
from ashtkd_ros.maps.descriptor_file import DESCRIPTORS
from ashtkd_ros.maps.folder import DESCRIPTION, INDEX
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.index_kinds import FLAT, KINDS
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.opening import open_traverse
from tools.town import DAY, DUSK

_CUTS = 20
_METRES = 20.0  # between places: each of their pictures is a file
_CHECKSUM = re.compile(rb'^checksum: .*\n', re.MULTILINE)


def damages(
    file: Path, others: list[Path], flips: int, choose: random.Random
) -> Iterator[tuple[str, bytes | None]]:
    """Kinds of damage to a file, and its bytes then; None: it is gone. `others`: to swap with."""
    data = file.read_bytes()
    for _ in range(flips):
        wrong = bytearray(data)
        wrong[choose.randrange(len(data))] ^= choose.randrange(1, 256)
        yield 'bytes changed', bytes(wrong)
    for length in [0, len(data) - 1, *choose.choices(range(len(data)), k=_CUTS)]:
        yield 'cut off', data[:length]
    yield 'longer', data + b'x'
    for other in others:
        if other.read_bytes() != data:
            yield 'swapped', other.read_bytes()
    yield 'gone', None
    if file.name == DESCRIPTION:
        newer = re.sub(rb'(?m)^format_version: .*$', b'format_version: 99', data)
        yield 'a newer format', with_checksum(_CHECKSUM.sub(b'', newer))


def check(folder: Path, file: Path, what: str) -> None:
    """VprError where the damaged map loads, or the line that refuses it does not name the file."""
    try:
        PlaceMap.load(folder, pictures=True)
    except VprError as error:
        # A whole map.yaml of another map is right, and the other files are wrong.
        name = str(folder) if what in ('swapped', 'a newer format') else file.name
        if name in str(error) and str(error).isprintable():
            return
        raise VprError(f'{file}: {what}, but the load says: {error}') from error
    raise VprError(f'{file}: {what}, and the map loads all the same')


def damage_all(folder: Path, other: Path, names: list[str], flips: int) -> Counter:
    """Damage these files of a map, one at a time; how often each kind of damage was found."""
    found: Counter[str] = Counter()
    choose = random.Random(3)
    for name in names:
        file, data = folder / name, (folder / name).read_bytes()
        own = choose.sample(sorted(p for p in folder.rglob('*') if p.is_file()), 3)
        others = [p for p in (other / name, *own) if p.exists() and p != file]
        for what, wrong in list(damages(file, others, flips, choose)):
            file.unlink(missing_ok=True)
            if wrong is not None:
                file.write_bytes(wrong)
            check(folder, file, what)
            found[what] += 1
        file.write_bytes(data)
    PlaceMap.load(folder, pictures=True)
    return found


def build(folder: Path, walk: Path, embedder: Embedder, kind: str) -> Path:
    """The map of a walk by a kind of index; its folder."""
    keyframes = KeyframeOptions('distance', metres=_METRES)
    options = MapOptions(keyframes=keyframes, index=IndexOptions(kind))
    out = folder / f'{walk.name}_{kind}'
    build_map([open_traverse(walk)], embedder, out, options)
    return out


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    text = 'changed bytes in each file (default: %(default)d)'
    parser.add_argument('--flips', type=positive_count, default=500, help=text)
    add_model_options(parser)
    args = parser.parse_args(argv)
    embedder = load_embedder(args)
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            folder = build(Path(name), DAY, embedder, kind)
            other = build(Path(name), DUSK, embedder, kind)
            names = [INDEX, DESCRIPTORS, DESCRIPTION]
            if kind == FLAT:
                names = sorted(str(p.relative_to(folder)) for p in folder.rglob('*.*'))
            found = damage_all(folder, other, names, args.flips)
            print(f'{kind}: {len(names)} files, each damage found and named: ', end='')
            print(', '.join(f'{count} {what}' for what, count in found.items()), flush=True)
            shutil.rmtree(folder)
    return 0


if __name__ == '__main__':
    run_command(main)
