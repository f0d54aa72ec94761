# SPDX-License-Identifier: Apache-2.0
"""The lines of the dashboard's panels, each a Text that is cut where its panel ends."""

from __future__ import annotations

import math
import time

from rich.text import Text

from ashtkd_ros.trials import vocabulary as words
from ashtkd_ros.trials.dashboard.marks import LOST, SAVED, WAITING, Mark
from ashtkd_ros.trials.dashboard.state import ERROR, OK, WARN, DashboardState, Heard, Status
from ashtkd_ros.trials.dashboard.tame_text import NONE, age, number

_LABEL = 11  # columns
_LEVELS = {OK: ('OK', 'green'), WARN: ('WARN', 'yellow'), ERROR: ('ERROR', 'bold red')}
_NO_STATUS = Status(OK, '')
_LOST = 0.5  # probability of being lost above which a sequence is called so
_LONGEST_DATE = 2**62  # ns
_STAGES = ('decode', 'embed', 'verify', 'rest')  # of the work on an image


def place_lines(state: DashboardState, bar: int = 18) -> list[Text]:
    """Place, confidence as a bar of so many columns, sequence, why or what else, pose."""
    node = _values(state.node_status)
    return [
        _headline(state),
        _confidence(state, node, bar),
        _row('sequence', *_sequence(state, node)),
        _reason_or_others(state, node),
        _row('pose', *_pose(state)),
    ]


def state_line(state: DashboardState) -> Text:
    """Level and state of the node, and what it says."""
    does = _values(state.node_status).values.get('state', '')
    return _row('state', *_level(state, state.node_status, does))


def node_lines(state: DashboardState) -> list[Text]:
    """Rates, latencies, camera."""
    node, old = _values(state.node_status), _is_old(state, state.node_status)
    images, answers = (node.number(f'{w} Hz') for w in ('images received', 'places published'))
    rates = f'images {number(images, 1, "Hz")}, answers {number(answers, 1, "Hz")}'
    half, most = (node.number(f'latency {p} ms') for p in ('p50', 'p95'))
    dropped = number(node.number('images dropped'))
    slow = f'p50 {number(half, 0, "ms")}, p95 {number(most, 0, "ms")}, dropped {dropped}'
    silent = node.number('seconds since last image')
    if state.node_status is not None:
        silent += state.age(state.node_status)
    faults, bad = (number(node.number(n)) for n in ('camera faults', 'bad images'))
    camera = f'image {_ago(silent)}, faults {faults}, bad {bad}'
    return [
        _row('rates', (rates, old)),
        _row('latency', (slow, old)),
        _row('camera', (camera, old or ('' if silent < 3.0 else 'yellow'))),
    ]


def more_node_lines(state: DashboardState) -> list[Text]:
    """Of the node, what there is room for on a large screen: where the time goes, map."""
    node, old = _values(state.node_status), _is_old(state, state.node_status)
    stages = [f'{s} {number(node.number(f"{s} p50 ms"))}' for s in _STAGES]
    wanted = ('map', 'places in map', 'execution provider', 'verification')
    path, places, provider, verifying = (node.values.get(key) or NONE for key in wanted)
    return [
        _row('stages', (f'{", ".join(stages)} ms', old)),
        _row('unknown', (_unknown_share(node), old)),
        _row('map', (f'{places} places, {path}', old)),
        _row('network', (f'{provider}, verification {verifying}', old)),
    ]


def trial_lines(state: DashboardState) -> list[Text]:
    """Recorder, disk, watch."""
    recorder, old = _values(state.recorder), _is_old(state, state.recorder)
    counts = f'{number(recorder.number("messages"))} messages, lost '
    counts += number(recorder.number('lost'))
    free, left = recorder.number('disk free MB') / 1000, state.minutes_left
    disk = f'{number(free, 1, "GB")} free'
    disk += f', enough for {_minutes(left)}' if math.isfinite(left) else ''
    return [
        _row('recorder', *_level(state, state.recorder, recorder.values.get('state', ''))),
        _row('recorded', (counts, old)),
        _row('disk', (disk, old)),
        _row('watch', *_level(state, state.watch, '')),
    ]


def more_trial_lines(state: DashboardState) -> list[Text]:
    """Of the trial, what there is room for on a large screen: where it is recorded."""
    recorder, old = _values(state.recorder), _is_old(state, state.recorder)
    file, topics = (recorder.values.get(key) or NONE for key in ('file', 'topics'))
    return [
        _row('bag', (recorder.hardware_id or NONE, old)),
        _row('file', (f'{file}, {topics} topics', old)),
    ]


def log_lines(state: DashboardState, count: int) -> list[Text]:
    """The last events and marks, newest first, at most `count`."""
    found = [(m.clock_ns, _mark_line(m, state.marks.word(m))) for m in state.marks.kept]
    for entry in state.events:
        style = 'green' if entry.kind in words.GOOD_NEWS else 'yellow'
        said = Text.assemble(clock_text(entry.stamp_ns), ' ', (entry.kind, style))
        found.append((entry.stamp_ns, said.append(f'  {entry.text}' if entry.text else '')))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [_single(line) for _, line in found[: max(count, 0)]]


def _mark_line(mark: Mark, word: str) -> Text:
    style = {SAVED: 'green', WAITING: 'yellow', LOST: 'bold white on red'}[word]
    text = f'mark {mark.kind} {mark.text}'.rstrip()
    return Text.assemble(clock_text(mark.clock_ns), ' ', (word, style), '  ', (text, 'cyan'))


def _headline(state: DashboardState) -> Text:
    if state.place is None:
        return _single(Text.assemble((' NO ANSWER YET ', 'reverse yellow')))
    best = state.place.value[0] if state.place.value else None
    word, style = ('KNOWN', 'green') if best else ('UNKNOWN', 'yellow')
    old = state.is_stale(state.place)
    if old:
        word, style = f'{age(state.age(state.place))} OLD', 'red'
    line = Text.assemble((f' {word} ', f'bold reverse {style}'), ' ')
    if best is not None:
        line.append(f'{best.place} ', 'dim' if old else 'bold')
        line.append(f' {state.name}', 'dim' if old else 'bold cyan')
    elif old:
        line.append('unknown', 'dim')
    return _single(line)


def _confidence(state: DashboardState, node: Status, bar: int) -> Text:
    """The bar of what is believed; of an unknown place that of its best candidate."""
    value, old = node.number('last confidence'), _is_old(state, state.place)
    if state.place is not None and state.place.value:
        value = state.place.value[0].confidence
    least = node.number('lowest confidence')
    known = state.place is not None and bool(state.place.value)
    filled = round(bar * min(max(value, 0.0), 1.0)) if math.isfinite(value) else 0
    line = Text.assemble(('confidence'.ljust(_LABEL), 'dim'))
    line.append('█' * filled, old or ('green' if known else 'yellow'))
    line.append('·' * (bar - filled), 'dim')
    line.append(f' {number(value, 3)}', old or 'bold')
    return _single(line.append(f' (least {number(least, 3)})', 'dim'))


def _sequence(state: DashboardState, node: Status) -> tuple[tuple[str, str], ...]:
    old, lost = _is_old(state, state.node_status), node.number('lost')
    if state.node_status is None:
        return ((NONE, ''),)
    if not math.isfinite(lost):
        return (('each image by itself', old),)
    word, style = ('LOST', 'bold yellow') if lost > _LOST else ('follows', 'green')
    rest = f', lost {number(lost, 3)}, jumps {node.values.get("jumps", NONE)}'
    return (word, old or style), (rest, old)


def _reason_or_others(state: DashboardState, node: Status) -> Text:
    """Why the place is unknown; else what one image alone says, or the next candidates."""
    old = _is_old(state, state.place)
    if state.place is None or not state.place.value:
        return _row('why', (node.values.get('last refusal', '') or NONE, old))
    if alone := node.values.get('last image alone'):
        return _row('one image', (alone, _is_old(state, state.node_status)))
    others = [f'{c.place} {number(c.confidence, 3)}' for c in state.place.value[1:4]]
    return _row('others', (', '.join(others) or NONE, old))


def _pose(state: DashboardState) -> tuple[tuple[str, str], ...]:
    if state.pose is None:
        return ((NONE, ''),)
    pose, old = state.pose.value, _is_old(state, state.pose)
    degrees = math.degrees(pose.yaw) % 360
    digits = 1 if max(abs(pose.x), abs(pose.y)) < 1e5 else 0
    text = f'x {number(pose.x, digits)} y {number(pose.y, digits)} m, {number(degrees)}°'
    return (text, old), (f', {_ago(state.age(state.pose))}', old or 'dim')


def _level(
    state: DashboardState, heard: Heard[Status] | None, does: str
) -> tuple[tuple[str, str], ...]:
    """Level of a status, what it does, and how old that is if it is old."""
    if heard is None:
        return (('not heard', 'yellow'),)
    if state.is_stale(heard):
        was = does or heard.value.text
        silent = f'SILENT for {age(state.age(heard))}'
        return (silent, 'bold red'), (f', was {was}' if was else '', 'dim')
    word, style = _LEVELS.get(heard.value.level, ('STALE', 'yellow'))
    text = heard.value.text if heard.value.text != does else ''
    said = '; '.join(part for part in (does, text) if part)
    return (word, style), (f'  {said}', '')


def _unknown_share(node: Status) -> str:
    unknown, answers = node.number('unknown places'), node.number('places published')
    share = 100 * unknown / answers if answers > 0 else math.nan
    return f'{number(unknown)} of {number(answers)} answers ({number(share, 0, "%")})'


def _row(label: str, *parts: tuple[str, str]) -> Text:
    return _single(Text.assemble((label.ljust(_LABEL), 'dim'), *parts))


def _single(line: Text) -> Text:
    line.no_wrap, line.overflow = True, 'ellipsis'
    return line


def _values(heard: Heard[Status] | None) -> Status:
    return _NO_STATUS if heard is None else heard.value


def _is_old(state: DashboardState, heard: Heard | None) -> str:
    """The style of what is shown though it is old; empty for the present."""
    return 'dim' if heard is not None and state.is_stale(heard) else ''


def _ago(seconds: float) -> str:
    return f'{age(seconds)} ago' if math.isfinite(seconds) else 'none yet'


def _minutes(minutes: float) -> str:
    return f'{minutes:.0f} min' if minutes < 600 else f'{min(minutes / 60, 9999):.0f} h'


def clock_text(stamp_ns: int) -> str:
    """The time of day here."""
    if not 0 <= stamp_ns < _LONGEST_DATE:
        return '--:--:--'
    return time.strftime('%H:%M:%S', time.localtime(stamp_ns / 1e9))
