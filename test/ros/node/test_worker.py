# SPDX-License-Identifier: Apache-2.0
"""The one-slot mailbox and its thread."""

from __future__ import annotations

import threading
import time

import pytest

from ashtkd_ros.ros.node.worker import Worker

PATIENCE_S = 30.0


class Slow:
    """Takes every message in hand until it is let go."""

    def __init__(self):
        self.seen: list[object] = []
        self.taken, self.release = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, message: object) -> None:
        self.seen.append(message)
        self.taken.release()
        assert self.release.acquire(timeout=PATIENCE_S)


def fail(error: Exception) -> None:
    pytest.fail(f'unexpected {error!r}')


def threads() -> int:
    return sum(thread.name == 'recogniser' for thread in threading.enumerate())


def test_newest_wins_and_the_dropped_are_told() -> None:
    process = Slow()
    worker = Worker(process, fail)
    assert worker.offer(1)
    assert process.taken.acquire(timeout=PATIENCE_S)
    assert worker.offer(2)  # the slot is empty: 1 is in hand, not waiting
    assert not worker.offer(3)
    assert not worker.offer(4)
    process.release.release()
    assert process.taken.acquire(timeout=PATIENCE_S)
    process.release.release()
    worker.close()
    assert process.seen == [1, 4]


def test_every_message_of_a_patient_sender_is_processed_in_order() -> None:
    done: list[int] = []
    arrived = threading.Semaphore(0)
    worker = Worker(lambda message: (done.append(message), arrived.release()), fail)
    for number in range(100):
        assert worker.offer(number)
        assert arrived.acquire(timeout=PATIENCE_S)
    worker.close()
    assert done == list(range(100))


def test_close_finishes_the_message_in_hand_and_forgets_the_waiting_one() -> None:
    process = Slow()
    worker = Worker(process, fail)
    worker.offer('in hand')
    assert process.taken.acquire(timeout=PATIENCE_S)
    worker.offer('waiting')
    process.release.release(2)
    threading.Timer(0.05, process.release.release).start()
    before = threads()
    worker.close(PATIENCE_S)
    assert threads() == before - 1
    assert process.seen[0] == 'in hand'


def test_close_ends_an_idle_thread_and_may_be_repeated() -> None:
    before = threads()
    worker = Worker(print, fail)
    assert threads() == before + 1
    worker.close()
    worker.close()
    assert threads() == before


def test_close_does_not_wait_for_ever() -> None:
    process = Slow()
    worker = Worker(process, fail)
    worker.offer(1)
    assert process.taken.acquire(timeout=PATIENCE_S)
    started = time.monotonic()
    worker.close(timeout_s=0.1)
    assert time.monotonic() - started < PATIENCE_S / 2
    process.release.release()


def test_an_offer_after_close_is_a_dropped_message() -> None:
    seen: list[object] = []
    worker = Worker(seen.append, fail)
    worker.close()
    assert not worker.offer(1)
    assert seen == []


def test_an_exception_is_reported_and_the_next_message_processed() -> None:
    done, failures = threading.Event(), []

    def process(message: str) -> None:
        if message == 'bad':
            raise ValueError(message)
        done.set()

    worker = Worker(process, failures.append)
    worker.offer('bad')
    end = time.monotonic() + PATIENCE_S
    while not failures and time.monotonic() < end:
        time.sleep(0.001)
    worker.offer('good')
    assert done.wait(PATIENCE_S)
    worker.close()
    assert [repr(error) for error in failures] == ["ValueError('bad')"]


@pytest.mark.parametrize('count', [200])
def test_many_short_lives(count: int) -> None:
    before = threads()
    for _ in range(count):
        worker = Worker(len, fail)
        worker.offer(())
        worker.close()
    assert threads() == before
