# SPDX-License-Identifier: Apache-2.0
"""The check list before a trial: from what was measured to go or no-go, in words.

No-go is what would make the trial worth nothing: no images, a clock that cannot be used, a damaged
map, a full disk. What may be missing on purpose, such as satellites, is unsure.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ashtkd_ros.stamps import NS_PER_S
from ashtkd_ros.text import counted

GO, NO_GO, UNSURE = 'go', 'no-go', 'unsure'
VERSION = 1  # of checks.json
_EARLIEST_NS = 1_735_689_600 * NS_PER_S  # 2025; a clock before it has never been set
_OFF_S, _FAR_OFF_S = 0.5, 5.0  # between stamps and the system's clock
_BACK_S = 0.05  # between images that overtake each other
_FULL_MB, _SPARE = 200.0, 1.5
_OLD_DAYS, _LOW_BATTERY, _COARSE_M = 180.0, 0.2, 5.0
_BURNT, _DARK = 'over-exposed', 'nearly black'
_BLURRED, _FROZEN, _DAMAGED = 'blurred', 'frozen', 'damaged'


@dataclass(frozen=True)
class Check:
    """One line of the list: `verdict` is GO, NO_GO or UNSURE; `text`: a sentence with figures;
    `advice`: what to do, empty where nothing is to be done."""

    name: str
    verdict: str
    text: str
    advice: str = ''

    def reason(self) -> str:
        """The text with the advice, in one line."""
        return f'{self.name}: {self.text}' + (f'; {self.advice}' if self.advice else '')


def camera_rate(topic: str, images: int, seconds: float, least_hz: float, why: str = '') -> Check:
    """`seconds`: since the first image, or of waiting for it; `least_hz`: images per second that
    are wanted; `why`: what is known where none came."""
    name, hz = f'camera {topic}', max(images - 1, 1) / seconds
    if not images:
        text = f'no image in {seconds:.0f} s' + (f' ({why})' if why else '')
        return Check(name, NO_GO, text, 'start the camera, or name its topic')
    text = f'{hz:.1f} images per second'
    if hz < 0.8 * least_hz:
        advice = 'check its exposure time, its cable and the load of the machine'
        return Check(name, UNSURE, f'{text}, {least_hz:g} are wanted', advice)
    return Check(name, GO, text)


def transport(topic: str, kind: str, wanted: Sequence[str]) -> Check:
    """Images that the node does not take; `kind`: how they come, raw or compressed; `wanted`: what
    its image_transport may be."""
    text = f'its images are {kind}, the node takes {" or ".join(wanted)} ones'
    return Check(f'camera {topic}', NO_GO, text, f'set image_transport to {kind}')


def exposure(topic: str, faults: Sequence[str], brightness: float) -> Check:
    """`faults`: of each picture that was looked at, see `images.faults`, empty for none;
    `brightness`: their mean grey, 0 to 255, NaN without pictures."""
    name, counts = f'exposure {topic}', Counter(faults)
    bad, pictures = counts[_DARK] + counts[_BURNT], counted(len(faults), 'picture')
    if counts[_DAMAGED] == len(faults):
        return Check(name, UNSURE, 'no picture could be looked at')
    text = f'mean brightness {brightness:.0f} of 255'
    if not bad:
        return Check(name, GO, text)
    words = ' and '.join(word for word in (_DARK, _BURNT) if counts[word])
    verdict = NO_GO if bad == len(faults) else UNSURE
    advice = 'take off the lens cap, or set the exposure'
    return Check(name, verdict, f'{bad} of {pictures} {words}, {text}', advice)


def sharpness(topic: str, faults: Sequence[str]) -> Check:
    """As `exposure`. A blank wall looks blurred too; one that is black or white tells nothing."""
    seen = [fault for fault in faults if fault in ('', _BLURRED, _FROZEN)]
    name, blurred = f'blur {topic}', seen.count(_BLURRED)
    if not seen:
        return Check(name, UNSURE, 'no picture could be looked at')
    if not blurred:
        return Check(name, GO, f'{counted(len(seen), "picture")}, all sharp')
    advice = 'clean the lens and set its focus; a blank wall looks blurred too'
    text = f'{blurred} of {counted(len(seen), "picture")} blurred'
    return Check(name, UNSURE, text, advice)


def frozen(topic: str, faults: Sequence[str], changed: bool) -> Check:
    """As `exposure`; `changed`: whether any two pictures differed."""
    name, damaged = f'picture {topic}', list(faults).count(_DAMAGED)
    if damaged:
        text = f'{damaged} of {counted(len(faults), "picture")} cannot be decoded'
        verdict = NO_GO if damaged == len(faults) else UNSURE
        return Check(name, verdict, text, 'check the encoding and the cable of the camera')
    if _FROZEN in faults:
        text = 'the camera sends one and the same picture'
        return Check(name, NO_GO, text, 'start its driver again')
    if len(faults) > 1 and not changed:
        text = f'all {len(faults)} pictures are the same, as only a simulated camera sends them'
        return Check(name, UNSURE, text, 'wave a hand before the camera, and check again')
    return Check(name, GO if changed else UNSURE, 'it changes' if changed else 'too few came')


def camera_stamps(topic: str, stamps: Sequence[tuple[int, int]], simulated: bool) -> Check:
    """`stamps`: of each image that of its header and the system's clock at its arrival, ns;
    `simulated`: whether the time is that of /clock, and need not be that of the system."""
    name = f'stamps {topic}'
    if not stamps:
        return Check(name, UNSURE, 'no image has come')
    if any(stamp <= 0 for stamp, _ in stamps):
        return Check(name, NO_GO, 'images have the stamp 0', 'let the driver stamp its images')
    steps = [b - a for (a, _), (b, _) in zip(stamps, stamps[1:], strict=False)]
    back = -min(steps, default=0) / NS_PER_S
    if back > _BACK_S:
        text = f'the stamps went back by {back:.2f} s'
        return Check(name, NO_GO, text, 'check that one driver alone publishes, and its clock')
    behind = statistics.median(now - stamp for stamp, now in stamps) / NS_PER_S
    text = f'{abs(behind):.3f} s {"behind" if behind >= 0 else "ahead of"} the clock'
    if simulated:
        return Check(name, GO, 'they grow, by the simulated time')
    if abs(behind) > _FAR_OFF_S:
        return Check(name, NO_GO, text, 'set the clock of the camera, or of this machine')
    if abs(behind) > _OFF_S:
        return Check(
            name, UNSURE, text, 'fixes and images will not fit together; check the clocks'
        )
    return Check(name, GO, text)


def system_clock(now_ns: int, synchronised: bool | None, error_s: float | None) -> Check:
    """`synchronised`: as the kernel says, None: it does not; `error_s`: its largest error."""
    name = 'clock'
    if now_ns < _EARLIEST_NS:
        return Check(name, NO_GO, 'it has never been set', 'set the time of this machine')
    if synchronised is None:
        return Check(name, UNSURE, 'nobody tells whether it is set by a time server')
    if not synchronised:
        advice = 'connect the machine once, or let chrony take the time from the satellites'
        return Check(name, UNSURE, 'it is not set by a time server', advice)
    within = '' if error_s is None else f', within {max(1.0, 1000.0 * error_s):.0f} ms'
    return Check(name, GO, f'it is set by a time server{within}')


def disk(folder: str, free_bytes: int, bytes_per_s: float, minutes: float) -> Check:
    """`bytes_per_s`: of the topics that are recorded, as measured; `minutes`: planned."""
    free, need = free_bytes / 1e6, bytes_per_s * 60.0 * minutes / 1e6
    text = f'{free / 1000:.1f} GB free in {folder}'
    if free < _FULL_MB:
        return Check('disk', NO_GO, text, 'make room, or name another trials_folder')
    if not bytes_per_s:
        return Check('disk', UNSURE, f'{text}; nothing came that could be measured')
    text += f'; {minutes:g} minutes of {bytes_per_s / 1e6:.1f} MB/s are {need / 1000:.1f} GB'
    advice = 'make room, drive shorter, or record compressed images'
    if free < need:
        return Check('disk', NO_GO, text, advice)
    return Check(
        'disk', GO if free >= _SPARE * need else UNSURE, text, advice * (free < _SPARE * need)
    )


def model(path: str, sha256: str, fault: str) -> Check:
    """`fault`: why the network cannot be loaded; empty: it can."""
    if fault:
        return Check('model', NO_GO, fault)
    return Check('model', GO, f'{path} loads, {sha256[:12]}')


def place_map(path: str, sha256: str, places: int, age_days: float, fault: str) -> Check:
    """`age_days`: since it was last changed; `fault`: why it cannot be used with the network."""
    if fault:
        return Check('map', NO_GO, fault)
    age = f'{age_days:.0f} days' if age_days >= 2 else f'{max(0.0, 24 * age_days):.1f} hours'
    text = f'{path} loads: {counted(places, "place")}, {age} old, {sha256[:12]}'
    if age_days > _OLD_DAYS:
        return Check('map', UNSURE, text, 'places change with the seasons; consider a new drive')
    return Check('map', GO, text)


def satellites(
    topic: str, fixes: int, status: int, accuracy_m: float, age_s: float, simulated: bool = False
) -> Check:
    """The last fix: its status (negative: none), one standard deviation in metres (NaN: not
    known), seconds between its stamp and the system's clock."""
    if not fixes:
        text = f'nothing comes on {topic}'
        return Check('gnss', UNSURE, text, 'without it, marks or odometry must tell the truth')
    if status < 0:
        return Check('gnss', UNSURE, 'the receiver has no fix', 'wait under the open sky')
    told = 'accuracy not told' if math.isnan(accuracy_m) else f'accuracy {accuracy_m:.2f} m'
    text = f'a fix, {told}, {abs(age_s):.1f} s {"old" if age_s >= 0 else "in the future"}'
    if abs(age_s) > _OFF_S + 1.0 and not simulated:
        advice = 'images and fixes will not fit together; check the clocks'
        return Check('gnss', UNSURE, text, advice)
    if not accuracy_m <= _COARSE_M:
        return Check('gnss', UNSURE, text, 'wait for a better fix, or judge within more metres')
    return Check('gnss', GO, text)


def odometry(topic: str, messages: int, seconds: float, behind_s: float, simulated: bool) -> Check:
    """`behind_s`: of the last stamp, behind the system's clock."""
    if not messages:
        return Check('odometry', UNSURE, f'nothing comes on {topic}')
    text = f'{messages / seconds:.1f} per second, {abs(behind_s):.2f} s '
    text += 'behind the clock' if behind_s >= 0 else 'ahead of the clock'
    if abs(behind_s) > _OFF_S and not simulated:
        return Check('odometry', UNSURE, text, 'check the clocks')
    return Check('odometry', GO, text)


def battery(topic: str, share: float | None) -> Check:
    """`share`: of its charge that is left, 0 to 1, NaN: it does not tell; None: no message."""
    if share is None:
        return Check('battery', UNSURE, f'nothing comes on {topic}')
    if math.isnan(share):
        return Check('battery', UNSURE, 'its charge is not told')
    text = f'{100 * share:.0f} %'
    if share < _LOW_BATTERY:
        return Check('battery', UNSURE, text, 'charge it')
    return Check('battery', GO, text)


def topics(present: Sequence[str], absent: Sequence[str]) -> Check:
    """Of the topics to record, those that somebody publishes, and those that nobody does."""
    text = f'{len(present)} of {len(present) + len(absent)} to record are published'
    if absent:
        return Check('topics', UNSURE, f'{text}, not {", ".join(absent)}')
    return Check('topics', GO, text)


def document(checks: Sequence[Check], seconds: float, cameras: Sequence[str]) -> dict[str, object]:
    """What checks.json says; `cameras`: the topics on which images came."""
    reasons = [check.reason() for check in checks if check.verdict == NO_GO]
    return {
        'version': VERSION,
        'verdict': NO_GO if reasons else GO,
        'reasons': reasons,
        'seconds': seconds,
        'cameras': list(cameras),
        'checks': [asdict(check) for check in checks],
    }


def lines(checks: Sequence[Check]) -> list[str]:
    """The list as aligned lines, and the verdict as the last one."""
    name, verdict = (max(len(getattr(c, k)) for c in checks) for k in ('name', 'verdict'))
    told = [
        f'{c.verdict:{verdict}}  {c.name:{name}}  {c.text}' + (f'; {c.advice}' if c.advice else '')
        for c in checks
    ]
    reasons = [check.reason() for check in checks if check.verdict == NO_GO]
    return [*told, f'{NO_GO}: {" | ".join(reasons)}' if reasons else GO]
