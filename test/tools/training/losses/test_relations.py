# SPDX-License-Identifier: Apache-2.0
"""Who shows the same place as whom, within a batch and in a memory of earlier ones."""

from __future__ import annotations

from small_student import torch

from tools.training.losses.memory import MemoryBank
from tools.training.losses.relations import KnownViews, relations


def known(places: list[int], pictures: list[int], groups: list[int], seed: int = 0) -> KnownViews:
    """Views with descriptors of 4 numbers, and of 3 by one teacher."""
    generator = torch.Generator().manual_seed(seed)
    descriptors = (torch.rand(len(places), size, generator=generator) for size in (4, 3))
    numbers = (torch.tensor(x) for x in (places, pictures, groups))
    return KnownViews(next(descriptors), [next(descriptors)], *numbers)


BATCH = known([0, 0, 1, -1, -1], [10, 11, 12, 13, 13], [5, 5, 5, 6, 6])
QUERY = torch.tensor([True, False, True, True, False])
# The same place; its very picture; a neighbour of its tour; another tour; no group; no place
MEMORY = known([0, 0, 2, 7, 8, -1], [20, 10, 21, 22, 23, 24], [5, 5, 5, 9, -1, 9])


def test_places_of_a_batch_are_certain():
    found = relations(BATCH, MEMORY, QUERY)
    assert found.positive[:, :5].int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1],
    ]
    assert found.negative[:, :5].int().tolist() == [
        [0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert found.candidates[:, :5].int().tolist() == [
        [0, 1, 0, 0, 1],
        [1, 0, 1, 1, 0],
        [0, 1, 0, 0, 1],
        [0, 1, 0, 0, 1],
        [1, 0, 1, 1, 0],
    ]


def test_what_may_be_the_same_in_truth_is_no_negative_of_the_memory():
    found = relations(BATCH, MEMORY, QUERY)
    assert found.positive[0, 5:].int().tolist() == [1, 0, 0, 0, 0, 0]
    assert found.negative[0, 5:].int().tolist() == [0, 0, 0, 1, 0, 0]
    assert found.candidates[0, 5:].int().tolist() == [1, 0, 1, 1, 1, 1]
    assert not found.positive[3, 5:].any() and not found.negative[3:].any()
    nowhere = BATCH._replace(groups=torch.full((5,), -1))
    assert not relations(nowhere, MEMORY, QUERY).negative[:, 5:].any()


def test_only_what_is_known_says_whether_a_teacher_is_right():
    found = relations(BATCH, MEMORY, QUERY)
    certain = found.certain(BATCH.places)
    # Not the neighbour of its tour, nor what has no group or no place
    assert certain[0, 5:].int().tolist() == [1, 0, 0, 1, 0, 0]
    assert torch.equal(certain[3:], found.candidates[3:])  # of an unknown place nothing is wrong


def test_a_memory_keeps_the_last_views_and_their_numbers():
    bank = MemoryBank(4, 4, [3])
    assert len(bank.views().places) == 0
    for step in range(3):
        bank.add(known([step, step], [10 + step, 20 + step], [0, 0], seed=step))
    views, last = bank.views(), known([2, 2], [12, 22], [0, 0], seed=2)
    assert views.places.tolist() == [2, 2, 1, 1] and views.pictures.tolist() == [12, 22, 11, 21]
    assert torch.equal(views.descriptor[:2], last.descriptor)
    assert torch.equal(views.targets[0][:2], last.targets[0])
    bank.add(known([7] * 6, [1, 2, 3, 4, 5, 6], [0] * 6))
    assert bank.views().pictures.tolist() == [1, 2, 3, 4]


def test_a_memory_goes_on_from_a_checkpoint_and_holds_no_graph():
    bank, again = MemoryBank(4, 4, [3]), MemoryBank(4, 4, [3])
    views = known([1, 2], [3, 4], [5, 6])
    views.descriptor.requires_grad_()
    bank.add(views)
    again.load_state_dict(bank.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.views()[2:], views[2:], strict=True))
    assert not bank.views().descriptor.requires_grad
    none = MemoryBank(0, 4, [3])
    none.add(views)
    assert len(none.views().places) == 0
