# SPDX-License-Identifier: Apache-2.0
"""What the keys do: marks by one key, texts typed into a line while everything else goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ashtkd_ros.trials.dashboard.tame_text import tame
from ashtkd_ros.trials.vocabulary import LANDMARK, NOTE, START, WRONG

QUIT = 'quit'
HELP = (
    ('s', 'start: the drive begins here'),
    ('w', 'wrong: the place on the screen is not the right one'),
    ('l', 'landmark: type what stands here, then Enter'),
    ('n', 'note: type a line, then Enter'),
    ('Esc', 'take back what is being typed'),
    ('?', 'this help, and back'),
    ('q', 'quit; the trial goes on'),
)
_AT_ONCE = {'s': START, 'w': WRONG}
_TYPED = {'l': LANDMARK, 'n': NOTE}
_LONGEST = 200  # characters
_SEQUENCE = re.compile(r'\x1b(\[[0-?]*[ -/]*[@-~]|O.)')  # of arrows and other keys
_ESCAPE, _ENTER, _BACK, _CLEAR = '\x1b', '\r\n', '\x7f\b', '\x15'
_AGAIN_S = 1.0  # the same mark within this time is a key that is held down


class Keys:
    """`typing`: the kind of mark that is being typed, empty if none; `text`: what of it is there;
    `help`: whether the help is shown. `clock()`: seconds that never jump."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self.typing = self.text = ''
        self.help = False
        self._last: tuple[str, float] = ('', 0.0)

    def press(self, characters: str) -> Iterator[tuple[str, str]]:
        """What is to be done: a kind of mark and its text, or QUIT."""
        for character in _SEQUENCE.sub('', characters):
            if self.typing:
                yield from self._type(character)
            else:
                yield from self._command(character)

    def _command(self, key: str) -> Iterator[tuple[str, str]]:
        self.help = key == '?' and not self.help
        if key == 'q':
            yield QUIT, ''
        elif key in _AT_ONCE:
            before, self._last = self._last, (key, self._clock())
            if key != before[0] or self._clock() - before[1] > _AGAIN_S:
                yield _AT_ONCE[key], ''
        elif key in _TYPED:
            self.typing, self.text = _TYPED[key], ''

    def _type(self, character: str) -> Iterator[tuple[str, str]]:
        if character in _ENTER:
            kind, text = self.typing, tame(self.text)
            self.typing = self.text = ''
            if text:
                yield kind, text
        elif character == _ESCAPE:
            self.typing = self.text = ''
        elif character in _BACK:
            self.text = self.text[:-1]
        elif character == _CLEAR:
            self.text = ''
        elif len(self.text) < _LONGEST and character >= ' ':
            self.text += character
