# SPDX-License-Identifier: Apache-2.0
"""Maps of 1,000 to 1,000,000 places by each kind of index, beside FAISS used directly.

    python -m tools.bench.index_kinds --plot growth.png

Descriptors are made from those of real pictures (`tools/bench/many_descriptors.py` says how). Each
row of the table is a process of its own that loads what another one has built. Times are of one
thread, of the 64 best places for an image. "FAISS" has the same index, and the descriptors in
memory as well; it and ours are asked in turns, so that each finds the processor's cache full of
the other's numbers; "alone" is ours without. For flat and fp16 it is the same work; the other
kinds read descriptors from the system's cache, or, "disk", from a file that the cache has just
lost. The index of FAISS is one of its own, as FAISS reads it. "load" is the shortest of three, of
files in the system's cache. A star: the kind that `build_map` takes by itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.maps.descriptor_index import CompressedIndex, DescriptorIndex
from ashtkd_ros.maps.folder import INDEX
from ashtkd_ros.maps.index_choice import IndexOptions, choose
from ashtkd_ros.maps.index_file import build_index, read_index, write_index
from ashtkd_ros.maps.index_kinds import BY_SIGNS, FEW, KINDS, RESCORED, turned_size, turning
from ashtkd_ros.maps.row_file import RowFile
from tools.bench.many_descriptors import BLOCK, ManyDescriptors, describe
from tools.process_usage import resident_mib

_QUERIES, _K, _COLD, _LOADS = 500, 64, 20, 3
_LONGEST_S = 10.0  # of a measurement
_REAL = Path('..', 'shared', 'data', 'train')
_TOWN = Path('test', 'data', 'town')
_Row = tuple[int, int, str, dict[str, float]]  # numbers, places, kind, figures
_HEAD = (
    'numbers  places kind    built   load  bytes '
    ' p50 ms  FAISS  times  alone   disk  exact   kind  kept'
)


def prepare(real: Path, folder: Path, size: int, count: int) -> None:
    """Write places, queries, and what exact search answers."""
    with np.load(real) as arrays:
        many = ManyDescriptors(dict(arrays), size)
    rows = np.lib.format.open_memmap(folder / 'rows.npy', 'w+', np.float32, (count, size))
    for number, block in enumerate(many.blocks(count)):
        rows[number * BLOCK : number * BLOCK + len(block)] = block
    own = np.random.default_rng(4).permutation(count)[:_QUERIES]
    queries = many.noisy(np.array(rows[own]))
    best, found = np.full(len(own), -2.0, np.float32), np.zeros(len(own), np.int64)
    for first in range(0, count, BLOCK):
        scores = queries @ rows[first : first + BLOCK].T
        at = scores.argmax(axis=1)
        higher = scores.max(axis=1) > best
        best[higher], found[higher] = scores.max(axis=1)[higher], first + at[higher]
    np.savez(folder / 'queries.npz', own=own, queries=queries, right=found == own)


def build(folder: Path, kind: str) -> SimpleNamespace:
    """Build and write an index; what map.yaml would say of it, with the seconds it took."""
    started = time.perf_counter()
    rows = np.load(folder / 'rows.npy', mmap_mode='r')
    index = build_index(rows, IndexOptions(kind))
    names = write_index(folder, index)
    seconds = time.perf_counter() - started
    return SimpleNamespace(
        places=len(index),
        descriptor_size=index.d,
        index=(index.kind, index.note),
        sha256={name: sha256_of_file(folder / name) for name in names},
        seconds=seconds,
    )


def measure(folder: Path, description: SimpleNamespace) -> dict[str, float]:
    """The figures of a row of the table."""
    with np.load(folder / 'queries.npz') as arrays:
        queries, own, right = (arrays[name] for name in ('queries', 'own', 'right'))
    _take_once(description)
    before = resident_mib(os.getpid())
    index, load_s = _loaded(folder, description)
    taken = resident_mib(os.getpid()) - before
    for _ in range(_LOADS - 1):
        del index  # its memory is free for the next one
        index, again_s = _loaded(folder, description)
        load_s = min(load_s, again_s)
    faiss.omp_set_num_threads(1)
    k = min(_K, len(index))
    answers = [index.search(q[None], k)[1][0, 0] for q in queries]
    kept = float((np.array(answers) == own).sum() / right.sum())
    ours, theirs = _in_turns(index, _faiss(index, folder, k), queries, k)
    alone, cold_ms = _alone_ms(index, queries, k), _cold_ms(index, queries, k)
    figures = {'load': load_s, 'taken': taken * 2**20 / len(index), 'ours': ours, 'alone': alone}
    figures |= {'bytes': index.memory_bytes / len(index), 'theirs': theirs, 'cold': cold_ms}
    return figures | {
        'exact': float(right.mean()),
        'kind': kept * float(right.mean()),
        'kept': kept,
    }


def _loaded(folder: Path, description: SimpleNamespace) -> tuple[DescriptorIndex, float]:
    """The index, and the seconds that it took to read and check it."""
    started = time.perf_counter()
    handle = os.open(folder, os.O_RDONLY)
    try:
        return read_index(folder, handle, description), time.perf_counter() - started
    finally:
        os.close(handle)


def _faiss(index: DescriptorIndex, folder: Path, k: int) -> Callable[[np.ndarray], object]:
    """FAISS alone: the same index, and the descriptors in memory."""
    if not isinstance(index, CompressedIndex):
        flat = faiss.IndexFlatIP(index.d)
        flat.add(index.array)
        return lambda query: flat.search(query, k)
    turn = turning(index.d)
    looked = max(2 * k, index.note.shortlist)
    if index.kind == 'binary':  # FAISS cannot compare the candidates again
        bits = faiss.read_index_binary(str(folder / INDEX))
        bits.use_heap = False  # half as long
        looked = looked if looked <= FEW else max(looked, BY_SIGNS)
        looked = min(looked, len(index))
        return lambda query: bits.search(np.packbits(query @ turn > 0, axis=1), looked)
    codes = faiss.read_index(str(folder / INDEX))
    if isinstance(codes, faiss.IndexRefine):
        codes.k_factor, looked = index.index.k_factor, max(k + 16, RESCORED)
    flat = faiss.IndexFlatIP(turned_size(index.d))
    rows = np.load(folder / 'rows.npy', mmap_mode='r')
    for first in range(0, len(rows), BLOCK):
        flat.add(rows[first : first + BLOCK] @ turn)
    if index.kind == 'hnsw':
        codes.hnsw.efSearch = index.note.shortlist
    refined = faiss.IndexRefine(codes, flat)
    refined.k_factor = min(looked, len(index)) / k
    parts = refined, flat, codes
    return lambda query: parts[0].search(query @ turn, k)


def _in_turns(
    index: DescriptorIndex, direct: Callable[[np.ndarray], object], queries: np.ndarray, k: int
) -> tuple[float, float]:
    """Median milliseconds of our search and of the other one."""
    searches = (lambda query: index.search(query, k)), direct
    times, end = ([], []), time.perf_counter() + _LONGEST_S
    for at, query in enumerate(queries):
        for which in (0, 1) if at % 2 else (1, 0):  # who comes second finds a warmer cache
            started = time.perf_counter()
            searches[which](query[None])
            times[which].append(time.perf_counter() - started)
        if time.perf_counter() > end:
            break
    return tuple(1000 * float(np.median(taken)) for taken in times)


def _take_once(description: SimpleNamespace) -> None:
    """Load a small index of the same kind: what a process takes once is not of the places."""
    kind, size = description.index[0], description.descriptor_size
    rows = np.random.default_rng(0).standard_normal((100, size)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name, 'rows.npy'), rows)
        small = build(Path(name), kind)
        read_index(Path(name), os.open(name, os.O_RDONLY), small).search(rows[:1], 1)


def _alone_ms(index: DescriptorIndex, queries: np.ndarray, k: int) -> float:
    """Median milliseconds of our search, one after the other."""
    times, end = [], time.perf_counter() + _LONGEST_S
    for query in queries:
        started = time.perf_counter()
        index.search(query[None], k)
        times.append(time.perf_counter() - started)
        if time.perf_counter() > end:
            break
    return 1000 * float(np.median(times))


def _cold_ms(index: DescriptorIndex, queries: np.ndarray, k: int) -> float:
    """Median milliseconds where the system's cache has lost the descriptors; 0 if in memory."""
    if not isinstance(getattr(index, 'exact', None), RowFile):
        return 0.0
    times = []
    for query in queries[:_COLD]:
        os.posix_fadvise(index.exact.handle, 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.perf_counter()
        index.search(query[None], k)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def _apart(function: Callable, *values: object) -> object:
    """What a function returns in a process of its own."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(function, values)


def _row(size: int, count: int, kind: str, built: float, of: dict[str, float]) -> str:
    cold = f'{of["cold"]:6.2f}' if of['cold'] else '     -'
    kind += '*' if choose(count, size, IndexOptions())[0] == kind else ''
    return (
        f'{size:7d} {count:7d} {kind:7s}{built:5.1f} s {of["load"]:4.2f} s {of["bytes"]:6.1f} '
        f'{of["ours"]:7.3f} {of["theirs"]:6.3f} {of["ours"] / of["theirs"]:6.2f} '
        f'{of["alone"]:6.3f} {cold} '
        f'{100 * of["exact"]:5.1f}% {100 * of["kind"]:5.1f}% {100 * of["kept"]:5.1f}%'
    )


def plot(path: Path, rows: list[_Row]) -> None:
    """Draw the growth of the time of a search; the ending of `path` is the format."""
    from matplotlib.figure import Figure

    sizes = sorted({size for size, *_ in rows})
    figure = Figure(figsize=(5 * len(sizes), 4), layout='constrained')
    for axes, size in zip(np.ravel(figure.subplots(1, len(sizes))), sizes, strict=True):
        for kind in KINDS:
            points = [
                (n, of['ours'], of['theirs']) for s, n, k, of in rows if (s, k) == (size, kind)
            ]
            if points:
                places, ours, theirs = zip(*points, strict=True)
                (line,) = axes.loglog(places, ours, 'o-', label=kind)
                axes.loglog(places, theirs, ':', color=line.get_color())
        axes.set(title=f'{size} numbers', xlabel='places', ylabel='ms a search (dotted: FAISS)')
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    default = _REAL if _REAL.is_dir() else _TOWN
    add = parser.add_argument
    add('--pictures', type=Path, default=default, help='folder of pictures (default: %(default)s)')
    sizes = (1000, 10_000, 100_000, 1_000_000)
    text = 'sizes of the maps (default: 1000 to 1000000)'
    add('--places', type=positive_count, nargs='+', default=sizes, help=text)
    text = 'numbers of a descriptor (default: 256 512)'
    add('--numbers', type=positive_count, nargs='+', default=(256, 512), help=text)
    add('--kinds', choices=KINDS, nargs='+', default=KINDS, help='kinds of index (default: all)')
    text = 'places up to which graphs are built, which takes long (default: %(default)d)'
    add('--most-hnsw', type=positive_count, default=10_000, help=text)
    add('--plot', type=Path, help='draw the times of a search to this picture')
    add_model_options(parser)
    return parser


def table(args: argparse.Namespace, folder: Path) -> list[_Row]:
    """Measure and print all rows."""
    rows = []
    for size, count in product(args.numbers, args.places):
        _apart(prepare, folder / 'real.npz', folder, size, count)
        for kind in args.kinds:
            if kind == 'hnsw' and count > args.most_hnsw:
                continue
            built = _apart(build, folder, kind)
            os.sync()  # else the load would wait for what is still being written
            figures = _apart(measure, folder, built)
            rows.append((size, count, kind, figures))
            print(_row(size, count, kind, built.seconds, figures), flush=True)
            if count == max(args.places):
                print(f'        {built.index[1]}; resident {figures["taken"]:.0f} bytes a place')
    return rows


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = describe(args.pictures, load_embedder(args))
        np.savez(folder / 'real.npz', **real)
        similar = ManyDescriptors(real, real['rows'].shape[1]).similarities()
        shares = ' '.join(f'{s:.2f}' for s in np.percentile(similar, (10, 50, 90)))
        print(
            f'{len(real["rows"])} pictures of {args.pictures}, {len(real["of"])} of them changed;'
        )
        print(f'similarity with the changed one, 10 %, median, 90 %: {shares}')
        print(_HEAD)
        rows = table(args, folder)
    if args.plot is not None:
        plot(args.plot, rows)
    return 0


if __name__ == '__main__':
    run_command(main)
