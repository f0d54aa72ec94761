# SPDX-License-Identifier: Apache-2.0
"""About four thousand queries, and which of them a network answers rightly.

They are the validation sets, rendered walks, and places that were held back from training. Where
every picture of a set has a pose, each one is a query: in ten turns a tenth of the places is out
of the map and is asked about. Queries without a right place in the map are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.tables import is_whole, read_rows
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.render.conditions import CONDITIONS
from tools.render.walks import EVALUATION_TOWNS, render_towns, town_folder
from tools.training.studies.evaluate_walks import MAP_WALK, evaluate_town, walk_tests
from tools.training.studies.student_sets import Answers, answer_frames, looks_of

_TURNS = 10
_CELL_M, _CELL_FRAMES = 10.0, 3
# What differs between query and map → the sets; any other set is a group of its own.
_GROUPS = {
    'light': ('amos_daynight', 'campus_seasons', 'koe_day_night'),
    'indoor': ('corridor', 'robot_loop'),
    'tours': ('tour_walk', 'tour_places', 'pano_tours2'),
    'streets': ('cambridge_streets',),
}
_LIGHTS, _MOVED = 'walks, light', 'walks, moved'
_QUERY_ROLES, _MAP_ROLES = ('query', 'night'), ('database', 'day')


@dataclass(frozen=True)
class AskedSet:
    """The Q queries of a set, and what came of them.

    `right`: method → whether the first place is right, bool (Q,). `spots`: Q names; queries of one
    spot were taken at nearly the same place. `digest`: of the queries and the map, the same for
    every network.
    """

    right: dict[str, np.ndarray]
    spots: list[str]
    digest: str


@dataclass(frozen=True)
class AskedPlaces:
    """Where the queries are: validation sets, folder of the rendered walks, held-back places."""

    validation: Sequence[Path]
    walks: Path | None = None
    held_back: Mapping[Path, set[str]] | None = None
    towns: Sequence[int] = EVALUATION_TOWNS

    def ask(self, embedder: Embedder) -> dict[str, AskedSet]:
        """Set → what a network answers."""
        asked = {folder.name: _ask_set(folder, embedder) for folder in self.validation}
        for folder, places in (self.held_back or {}).items():
            asked[folder.name] = _ask_held_back(folder, places, embedder)
        if self.walks is not None:
            render_towns(self.towns, self.walks)
            for town in self.towns:
                asked |= _ask_walks(town_folder(self.walks, town), embedder)
        return asked


def group_of(name: str) -> str:
    """The group of a set; of a rendered walk, "townT/WALK", by what differs in it."""
    if '/' in name:
        walk = name.partition('/')[2]
        return _LIGHTS if walk == 'again' or walk in CONDITIONS else _MOVED
    return next((group for group, names in _GROUPS.items() if name in names), name)


def _asked(
    mapped: Sequence[Frame],
    queries: Sequence[Frame],
    right: dict[str, np.ndarray],
    truth: Sequence[int],
    where: str,
) -> AskedSet:
    """`right` bool (Q,) by method; `truth`: right places of each query; those with 0 are left out.

    VprError where none is left.
    """
    kept = np.flatnonzero(truth)
    if not len(kept):
        raise VprError(f'{where}: no query has a right place in the map; give another set')
    lines = [f'{queries[q].source} {truth[q]}' for q in kept]
    lines += ['map', *(frame.source for frame in mapped)]
    digest = sha256_of('\n'.join(lines).encode())[:16]
    spot = _spots(queries)
    return AskedSet(
        {method: hits[kept] for method, hits in right.items()},
        [f'{where} {spot(queries[q])}' for q in kept],
        digest,
    )


def _spots(frames: Sequence[Frame]) -> Callable[[Frame], str]:
    """With poses a cell of 10 m, with numbered frames three in a row, else the place or camera.

    That is the frame's label; without one it is the frame itself.
    """
    if all(f.pose is not None for f in frames):
        return lambda f: f'{f.pose.x // _CELL_M:.0f} {f.pose.y // _CELL_M:.0f}'
    if all(is_whole(f.label) for f in frames):
        return lambda f: str(int(f.label) // _CELL_FRAMES)
    return lambda f: f.label or f.source


def _ask_set(folder: Path, embedder: Embedder) -> AskedSet:
    frames = {role: read_source(folder, role) for role in ('database', 'query')}
    looks = {role: looks_of(embedder, of) for role, of in frames.items()}
    everything = [*frames['database'], *frames['query']]
    if all(f.pose is not None for f in everything):
        return _ask_in_turns(folder.name, everything, sum(looks.values(), []), embedder)
    answers = answer_frames(
        embedder, frames['database'], looks['database'], frames['query'], looks['query']
    )
    return _of_answers(folder.name, frames['database'], frames['query'], answers)


def _of_answers(
    where: str, mapped: Sequence[Frame], queries: Sequence[Frame], answers: dict[str, Answers]
) -> AskedSet:
    truth = next(iter(answers.values())).right.sum(axis=1)
    right = {method: a.first_right for method, a in answers.items()}
    return _asked(mapped, queries, right, truth, where)


def turns(frames: Sequence[Frame]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ten turns: numbers of the frames in the map, and of those that are queries, int (n,).

    Frames of one place go together; the next place goes in the next turn.
    """
    labels = [f.label or f.source for f in frames]
    number = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    turn = np.array([number[label] % _TURNS for label in labels])
    for k in range(min(_TURNS, len(number))):
        yield np.flatnonzero(turn != k), np.flatnonzero(turn == k)


def _ask_in_turns(where: str, frames: list[Frame], looks: list, embedder: Embedder) -> AskedSet:
    right: dict[str, np.ndarray] = {}
    truth = np.zeros(len(frames), int)
    for mapped, asked in turns(frames):
        parts = ([of[i] for i in rows] for rows in (mapped, asked) for of in (frames, looks))
        answers = answer_frames(embedder, *parts)
        for method, found in answers.items():
            right.setdefault(method, np.zeros(len(frames), bool))[asked] = found.first_right
            truth[asked] = found.right.sum(axis=1)
    return _asked(frames, frames, right, truth, where)


def _ask_held_back(folder: Path, places: set[str], embedder: Embedder) -> AskedSet:
    """Held-back pictures of the roles query or night in a map of the others."""
    mapped, queries = (
        [f for role in roles for f in _of_role(folder, role) if f.label in places]
        for roles in (_MAP_ROLES, _QUERY_ROLES)
    )
    if not mapped or not queries:
        raise VprError(
            f'{folder}: no held-back pictures of the roles {" or ".join(_MAP_ROLES)}, or none of '
            f'{" or ".join(_QUERY_ROLES)}; leave the set out of `held_back`'
        )
    looks = [looks_of(embedder, frames) for frames in (mapped, queries)]
    answers = answer_frames(embedder, mapped, looks[0], queries, looks[1])
    return _of_answers(folder.name, mapped, queries, answers)


def _of_role(folder: Path, role: str) -> list[Frame]:
    """The frames of a role, none where no row has it."""
    rows = read_rows(folder / 'index.csv', ('role',))
    return read_source(folder, role) if any(row['role'] == role for _, row in rows) else []


def _ask_walks(folder: Path, embedder: Embedder) -> dict[str, AskedSet]:
    """The walks of a town; `forward0`, whose pictures are those of `again`, is left out."""
    tests, asked = walk_tests(), {}
    for walk, judged in evaluate_town(folder, embedder).items():
        if walk == tests[walk].folder:
            queries = read_source(folder / walk)
            right = {method: of.right for method, of in judged.items()}
            mapped = read_source(folder / MAP_WALK)
            found = _asked(mapped, queries, right, np.ones(len(queries), int), folder.name)
            asked[f'{folder.name}/{walk}'] = found
    return asked
