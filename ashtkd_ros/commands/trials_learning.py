# SPDX-License-Identifier: Apache-2.0
"""Subcommands of trials that learn from them: hard cases to train on, what to add to maps."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.cli.arguments import not_negative, share
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.map_suggestions import measure_line, suggestion_lines
from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.images.bit_depth import map_bits
from ashtkd_ros.mapping.suggestions import Suggestions, SuggestOptions, suggest
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.topic_choice import NO_POSES
from ashtkd_ros.traverses.traverse import TraverseOptions
from ashtkd_ros.trials.bag_topics import bag_topics
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.hard_cases import HardOptions
from ashtkd_ros.trials.listing import trials_of
from ashtkd_ros.trials.training_set import check_new, export_training_set
from ashtkd_ros.trials.trial_report import ReportOptions, TrialReport, make_report

_Adder = Callable[[argparse.ArgumentParser], None]


def add_parsers(
    commands: argparse._SubParsersAction, add_trials: _Adder, add_judging: _Adder
) -> None:
    """Add the parsers to those of trials."""
    default = HardOptions()
    text = 'Write the hard cases of trials as a set of training pictures, with the pictures of '
    text += 'their right places: wrong answers, unknown ones though on the map, and right ones '
    text += 'that were hardly sure. Black, burnt, blurred and frozen images are left out.'
    parser = commands.add_parser('export', help='write hard cases to train on', description=text)
    parser.set_defaults(run=_export)
    add_trials(parser)
    add = parser.add_argument
    add('-o', '--out', type=Path, required=True, help='new folder for the set')
    text = 'a right answer is hard whose confidence is less than this above that of the best '
    text += 'place elsewhere, 0 to 1 (default: %(default)g)'
    add('--margin', type=share, default=default.margin, help=text)
    text = 'a right answer is hard whose confidence is below this, 0 to 1 (default: %(default)g)'
    add('--confidence', type=share, default=default.confidence, help=text)
    text = 'seconds between two cases; 0: all are written (default: %(default)g)'
    add('--apart', type=not_negative, default=default.apart_s, metavar='S', help=text)
    add_judging(parser)
    text = 'Tell which trials are worth adding to the map, the most worth first, and the command '
    text += 'that adds each. Nothing is added.'
    parser = commands.add_parser('suggest', help='tell what to add to the map', description=text)
    parser.set_defaults(run=_suggest)
    add_trials(parser)
    text = 'folder of the map (default: the one that each trial was driven with)'
    parser.add_argument('--map', type=Path, help=text)
    add_model_options(parser)


def _export(args: argparse.Namespace) -> int:
    check_new(args.out)
    options = ReportOptions(args.map, args.metres, args.truth)
    trials = trials_of(args.trials)
    wanted = HardOptions(args.margin, args.confidence, args.apart)
    done = export_training_set(args.out, _reports(trials, options), wanted)
    cases = ', '.join(f'{n} {kind}' for kind, n in done.cases.most_common())
    print_lines(
        f'{args.out}: {counted(done.cases.total(), "hard case")} ({cases}), '
        f'{counted(done.map_pictures, "picture")} of the map, {counted(done.places, "place")}'
    )
    for why, n in done.left_out.most_common():
        print_notes(f'{counted(n, "hard case")} left out: {why}')
    return 0


def _reports(trials: list[TrialFolder], options: ReportOptions) -> Iterator[TrialReport]:
    for trial in trials:
        report = make_report(trial, options, print_notes)
        print_notes(*(f'{report.name}: {note}' for note in report.notes))
        yield report


@dataclass(frozen=True)
class _Found:
    """What was found in a recording; `worth`: images with a new look or off the map."""

    trial: TrialFolder
    lines: list[str]
    worth: int


def _suggest(args: argparse.Namespace) -> int:
    embedder, maps, found = load_embedder(args), {}, []
    measured: set[Path] = set()
    for trial in trials_of(args.trials):
        try:
            folder = args.map or _map_of(trial)
            if folder not in maps:
                maps[folder] = PlaceMap.load(folder, embedder)
        except VprError as error:
            if args.map is not None:
                raise
            print_notes(f'{trial.path.name}: {error}')
            continue
        for bag in trial.bags():
            try:
                one, suggestions = _look_through(trial, bag, folder, maps[folder], embedder, args)
            except VprError as error:
                print_notes(f'{trial.path.name}: {error}')
                continue
            found.append(one)
            if folder not in measured:
                measured.add(folder)
                print_notes(measure_line(suggestions))
    if not found:
        raise VprError('no recording of these trials can be looked through; see the notes above')
    for one in sorted(found, key=lambda one: -one.worth):
        print_lines(*one.lines)
    return 0


def _map_of(trial: TrialFolder) -> Path:
    """The map that a trial was driven with; VprError where it does not tell."""
    told = trial.configuration().get('map')
    path = told.get('path') if isinstance(told, dict) else None
    if not isinstance(path, str) or not path:
        raise VprError('does not tell which map it had; name it with --map')
    return Path(path)


def _look_through(
    trial: TrialFolder,
    path: Path,
    folder: Path,
    place_map: PlaceMap,
    embedder: Embedder,
    args: argparse.Namespace,
) -> tuple[_Found, Suggestions]:
    """Look through one recording of a trial; where its clocks jumped, by times of receipt."""
    image, poses = _topics(trial, path, place_map)
    same = ['--image-topic', image, '--pose-topic', poses]
    wanted = TraverseOptions(
        image_topic=image,
        pose_topic=poses,
        origin=place_map.info.origin,
        bits=map_bits(place_map.traverses),
        purpose='map',
    )
    try:
        traverse = open_traverse(path, wanted)
    except VprError:
        traverse = open_traverse(path, replace(wanted, stamps='receive'))
        same += ['--stamps', 'receive']
    suggestions = suggest(place_map, embedder, traverse, SuggestOptions(workers=args.threads))
    posed = traverse.has_poses and bool(place_map.places.posed.any())
    same += ['--model', str(args.model)] if args.model else []
    lines = suggestion_lines(place_map, suggestions, folder, path, same, posed)
    print_notes(*(f'{path}: {note}' for note in traverse.notes))
    worth = sum(len(stretch.seen) for stretch in suggestions.stretches)
    return _Found(trial, lines, worth), suggestions


def _topics(trial: TrialFolder, path: Path, place_map: PlaceMap) -> tuple[str, str]:
    """The topics of the images and of the poses that fit the map, or "none"."""
    bag = Bag(path)
    try:
        topics = bag_topics(bag, trial.configuration())
    finally:
        bag.close()
    if not topics.images:
        raise VprError(f'{path}: holds no images; record the camera too')
    image = next(iter(topics.images.values()))
    return image, topics.fix if topics.fix and place_map.info.origin else NO_POSES
