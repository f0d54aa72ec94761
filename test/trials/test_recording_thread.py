# SPDX-License-Identifier: Apache-2.0
"""The thread that writes a recording, on disks that are full, slow, small or gone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ashtkd_ros.bags import patient_file
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.bag_recording import BagRecording
from ashtkd_ros.bags.mcap_writer import RecordedTopic
from ashtkd_ros.trials import recording_thread
from ashtkd_ros.trials.recording_thread import (
    CANNOT_WRITE,
    ENDED,
    FAILED,
    MB,
    NO_DISK,
    QUEUE_FULL,
    RECORDING,
    RecordingThread,
)
from ashtkd_ros.trials.vocabulary import DISK_FULL

TOPIC = RecordedTopic('/words', 'std_msgs/msg/String', 'string data\n')
PATIENCE_S = 60.0


class Recording:
    """A thread that records into a new bag, and what it says."""

    def __init__(self, folder: Path, reserve_mb: float = 0.0, **options: int):
        self.said: list[tuple[str, str, str]] = []
        self.bag = BagRecording(folder)
        self.sent = 0
        self.thread = RecordingThread(
            self.bag, lambda *words: self.said.append(words), int(reserve_mb * MB), **options
        )

    def send(self, number: int, size: int = 100) -> None:
        for _ in range(number):
            self.sent += 1
            text = b'%09d' % self.sent
            data = b'\0\1\0\0' + (size + 1).to_bytes(4, 'little') + text.ljust(size) + b'\0'
            self.thread.add(TOPIC, time.time_ns(), data)

    def until(self, condition: Callable[[], object], step: Callable[[], object] = bool) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.thread.status()
            step()
            time.sleep(0.02)

    def until_state(self, state: str, step: Callable[[], object] = bool) -> None:
        self.until(lambda: self.thread.status().state == state, step)

    def numbers(self) -> list[int]:
        """Those of the messages in the bag, by our own reader, which has nothing to say."""
        bag = Bag(self.bag.folder)
        found = [int(data[8:17]) for _, _, data in bag.serialized([TOPIC.name])]
        assert bag.notes == []
        bag.close()
        return found

    def check_books(self) -> None:
        """Each message that was sent is in the bag once, in order, or counted as lost."""
        status, numbers = self.thread.status(), self.numbers()
        assert status.state == ENDED
        assert numbers == sorted(set(numbers)) and len(numbers) == status.messages
        assert self.sent == status.messages + sum(status.lost.values())


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recording]]:
    made: list[Recording] = []

    def start(folder: Path = tmp_path / 'bag', **options: float) -> Recording:
        made.append(Recording(folder, **options))
        return made[-1]

    yield start
    for recording in made:
        recording.thread.close(5.0)


def test_every_message_is_written(record) -> None:
    recording = record()
    recording.send(1000)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()
    assert recording.numbers() == list(range(1, 1001)) and recording.said == []


def test_the_disk_is_told_to_keep_it_and_nobody_waits_for_that(record, monkeypatch) -> None:
    kept: list[str] = []
    slow = threading.Event()

    def keep(handle: int) -> None:
        kept.append(os.path.basename(os.readlink(f'/proc/self/fd/{handle}')))
        if len(kept) == 2:
            assert slow.wait(PATIENCE_S)

    monkeypatch.setattr(patient_file.os, 'fdatasync', keep)
    monkeypatch.setattr(recording_thread, '_KEEP_S', 0.1)
    recording = record()
    recording.until(lambda: len(kept) == 2)
    recording.send(1000)
    recording.until(lambda: recording.bag.messages == 1000)
    assert kept == ['bag_0.mcap'] * 2
    slow.set()
    recording.until(lambda: len(kept) > 2)
    before = len(kept)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()
    assert len(kept) > before and set(kept) == {'bag_0.mcap'} and recording.said == []


def test_what_a_disk_has_lost_is_said(record, monkeypatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, 'Input/output error')

    with monkeypatch.context() as patch:
        patch.setattr(patient_file.os, 'fdatasync', fail)
        recording = record()
        recording.until(lambda: recording.said)
    [(level, text, _)] = recording.said
    assert level == 'error' and 'the disk has lost what it had taken (Input/output error)' in text
    recording.send(10)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the MB that the disk seems to have."""
    disk = SimpleNamespace(f_bavail=0, f_frsize=MB)
    monkeypatch.setattr(recording_thread.os, 'statvfs', lambda _: disk)

    def resize(size: float) -> None:
        disk.f_bavail = size

    resize(1000.0)
    return resize


def test_the_reserve_of_the_disk_is_kept(record, free) -> None:
    recording = record(reserve_mb=200)
    recording.send(10)
    recording.until(lambda: recording.bag.messages == 10)
    free(199.0)
    recording.until_state(DISK_FULL)
    assert recording.thread.status().file == ''
    assert len(recording.numbers()) == 10  # the bag is whole meanwhile
    recording.send(5)
    recording.until(lambda: recording.thread.status().lost == {NO_DISK: 5})
    free(240.0)  # not yet: else there would be a new file every moment
    time.sleep(1.5)
    assert recording.thread.status().state == DISK_FULL
    free(300.0)
    recording.until_state(RECORDING)
    recording.send(10)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()
    assert len(list(recording.bag.folder.glob('*.mcap'))) == 2
    [full, again] = recording.said
    assert full[0] == 'error' and full[2] == DISK_FULL
    assert 'the reserve of 200 MB is reached): NOTHING IS RECORDED; make room' in full[1]
    assert 'records again, into bag_1.mcap; 5 messages lost meanwhile' in again[1]


def test_that_the_disk_will_be_full_is_said_once(record, free, monkeypatch) -> None:
    monkeypatch.setattr(recording_thread, '_MEASURED_S', 0.5)
    recording = record(reserve_mb=200)
    free(201.0)
    recording.until(lambda: recording.said, lambda: recording.send(10, 1000))
    assert recording.thread.status().is_low
    recording.until(lambda: recording.sent > 3000, lambda: recording.send(50, 1000))
    [(level, text, kind)] = recording.said
    assert (level, kind) == ('warning', '')
    assert 'the disk will be full in 0 minutes; make room on it' in text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', str(folder)]
    if os.geteuid() or not shutil.which('mount') or subprocess.run(command).returncode:
        pytest.skip('no file system can be mounted here: there is no small disk')
    yield folder
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_a_disk_that_really_is_full(record, small_disk: Path) -> None:
    recording = record(small_disk / 'bag')
    recording.send(100)
    recording.until(lambda: recording.bag.messages == 100)
    ballast = small_disk / 'ballast'
    with (
        ballast.open('wb', buffering=0) as file,
        pytest.raises(OSError, match='No space left'),
    ):
        while True:
            file.write(bytes(4096))
    recording.until_state(DISK_FULL, lambda: recording.send(10, 10_000))
    recording.send(10)
    recording.until(lambda: recording.thread.status().lost.get(NO_DISK, 0) >= 10)
    assert [said[2] for said in recording.said] == [DISK_FULL]
    assert 'the disk is full (No space left on device): NOTHING IS' in recording.said[0][1]
    ballast.unlink()
    recording.until_state(RECORDING)
    recording.send(100)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()


def test_a_disk_that_is_broken(record, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = record()

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(patient_file.os, 'write', fail)
        recording.send(10)
        recording.until_state(CANNOT_WRITE)
    text = 'the bag cannot be written (Input/output error): NOTHING IS RECORDED; check the disk'
    assert recording.thread.status().reason == text
    recording.until_state(RECORDING)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()


def test_a_file_that_the_disk_refuses_for_ever(record, monkeypatch) -> None:
    recording, own = record(), os.write

    def refuse_the_first(handle: int, data: bytes) -> int:
        if os.readlink(f'/proc/self/fd/{handle}').endswith('bag_0.mcap'):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return own(handle, data)

    recording.send(10)
    recording.until(lambda: b'000000010' in (recording.bag.folder / 'bag_0.mcap').read_bytes())
    monkeypatch.setattr(patient_file.os, 'write', refuse_the_first)
    recording.send(20)
    recording.until_state(DISK_FULL)
    recording.until_state(RECORDING)
    recording.send(30)
    assert recording.thread.close(PATIENCE_S) == ''
    status = recording.thread.status()
    assert (status.messages, status.lost) == (40, {NO_DISK: 20})
    bag = Bag(recording.bag.folder)
    found = [int(data[8:17]) for _, _, data in bag.serialized([TOPIC.name])]
    bag.close()
    assert found == [*range(1, 11), *range(31, 61)]


def test_a_limit_of_all_files_that_is_lifted_cuts_none(record, monkeypatch) -> None:
    recording = record()

    def refuse(*_: object) -> int:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(recording_thread, '_GIVE_UP_S', 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(patient_file.os, 'write', refuse)
        recording.send(10)
        recording.until_state(DISK_FULL)
        time.sleep(1.5)  # it would give up
    recording.until_state(RECORDING)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()


def test_a_folder_that_is_gone(record) -> None:
    recording = record()
    shutil.rmtree(recording.bag.folder)
    recording.until_state(CANNOT_WRITE)
    assert 'No such file or directory' in recording.thread.status().reason


def test_a_full_disk_that_is_gone_is_not_called_full(record, free, monkeypatch) -> None:
    recording = record(reserve_mb=200)
    free(199.0)
    recording.until_state(DISK_FULL)

    def gone(_: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, 'No such file or directory')

    monkeypatch.setattr(recording_thread.os, 'statvfs', gone)
    recording.until_state(CANNOT_WRITE)
    assert 'No such file or directory' in recording.thread.status().reason


def test_nobody_waits_for_a_disk_that_does_not_answer(record, monkeypatch) -> None:
    recording = record(queue_bytes=50_000)
    answers, own = threading.Event(), os.write
    patched = lambda *args: answers.wait() and own(*args)  # noqa: E731
    monkeypatch.setattr(patient_file.os, 'write', patched)
    recording.send(10)
    recording.until(lambda: recording.thread.status().stalled_s > 0.2)
    started = time.monotonic()
    recording.send(100, 1000)
    assert time.monotonic() < started + 5.0
    assert recording.thread.status().lost[QUEUE_FULL] == pytest.approx(51, abs=3)
    assert 'does not answer' in recording.thread.close(0.5)
    answers.set()
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()


def test_what_nobody_foresaw_is_told(record, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = record()
    monkeypatch.setattr(recording.bag, 'flush', lambda: [][0])
    recording.until_state(FAILED)
    assert recording.thread.close(PATIENCE_S) == 'IndexError: list index out of range'


def test_a_file_system_that_cannot_keep_is_let_be(record, monkeypatch) -> None:
    asked: list[int] = []

    def fail(handle: int) -> None:
        asked.append(handle)
        raise OSError(errno.EINVAL, 'Invalid argument')

    monkeypatch.setattr(patient_file.os, 'fdatasync', fail)
    monkeypatch.setattr(recording_thread, '_KEEP_S', 0.1)
    recording = record()
    recording.send(10)
    recording.until(lambda: len(asked) > 1)
    assert recording.thread.close(PATIENCE_S) == ''
    recording.check_books()
    assert recording.said == []
