# SPDX-License-Identifier: Apache-2.0
"""Who plays a source, and how fast images go out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from bag_helpers import playback
from ros_helpers import PLAYED, TOWN, town_bag

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play import players
from ashtkd_ros.ros.play.players import choose_player, play

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


class Film:
    """Stands for a camera: keeps the images."""

    def __init__(self):
        self.images: list = []
        self.publish, self.message = self.images.append, lambda image: image

    def wait_until_heard(self) -> None:
        """Nobody is there."""


@pytest.mark.parametrize(
    ('hz', 'rate', 'seconds'), [(0, 2, 2.45 / 2), (0, 10, 0.245), (20, 1, 0.35), (20, 2, 0.175)]
)
def test_rate_and_hz(hz: float, rate: float, seconds: float, ros, tmp_path: Path) -> None:
    film, recording = Film(), playback(town_bag(tmp_path / 'bag'), hz=hz)
    started = time.monotonic()
    assert play(film, recording, rate) == len(film.images) == PLAYED
    assert time.monotonic() - started >= seconds - 0.01


def test_one_message_is_in_memory_at_a_time(ros, tmp_path: Path) -> None:
    film, recording, ahead = Film(), playback(town_bag(tmp_path / 'bag'), hz=100), []
    source = enumerate(recording, 1)

    def counted():
        for number, item in source:
            ahead.append(number - len(film.images))
            yield item

    play(film, counted())
    assert ahead == [1] * PLAYED


def test_a_check_ends_the_playing(ros, tmp_path: Path) -> None:
    film = Film()

    def check() -> None:
        if len(film.images) == 2:
            raise VprError('enough')

    with pytest.raises(VprError, match='enough'):
        play(film, playback(town_bag(tmp_path / 'bag')), 10, check)
    assert len(film.images) == 2


def test_who_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = playback(town_bag(tmp_path / 'bag'))
    others = (playback(TOWN / 'dusk'), playback(bag.path, hz=10))
    for there in (False, True):
        monkeypatch.setattr(players, '_has_ros2_bag', lambda there=there: there)
        assert choose_player('auto', bag) == ('ros2' if there else 'own')
        assert choose_player('own', bag) == 'own'
        for source in others:
            assert choose_player('auto', source) == 'own'
            with pytest.raises(VprError, match='ros2'):
                choose_player('ros2', source)
    assert choose_player('ros2', bag) == 'ros2'
    (bag.path / 'metadata.yaml').unlink()  # ros2 bag play would not read what we do
    odd = playback(bag.path)
    assert (choose_player('auto', odd), choose_player('ros2', odd)) == ('own', 'ros2')
    monkeypatch.setattr(players, '_has_ros2_bag', lambda: False)
    with pytest.raises(VprError, match='use --player own'):
        choose_player('ros2', bag)
