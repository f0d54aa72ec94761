# SPDX-License-Identifier: Apache-2.0
"""Every step of the teaching against a plain reference with loops, and its limiting cases."""

from __future__ import annotations

import itertools
import math

import pytest
from small_student import torch

from tools.training.losses import teaching

F = torch.nn.functional
Q_PLACE = torch.tensor([0, 1, 2, 3])
D_PLACE = torch.tensor([0, 0, 1, 2, 9, 2])


def unit(rows: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    """Random rows of length 1, float64, that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    return F.normalize(x, dim=1).requires_grad_()


@pytest.fixture
def query() -> torch.Tensor:
    return unit(4)


@pytest.fixture
def database() -> torch.Tensor:
    return unit(6, seed=1)


@pytest.fixture
def teachers() -> torch.Tensor:
    """Similarities of three teachers (3, 4, 6)."""
    return torch.stack([unit(4, seed=2 + k) @ unit(6, seed=9 + k).T for k in range(3)]).detach()


@pytest.fixture
def positive() -> torch.Tensor:
    return teaching.same_place(Q_PLACE, D_PLACE)


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [p / sum(powers) for p in powers]


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum())


def test_unknown_places_are_never_the_same():
    same = teaching.same_place(torch.tensor([-1, 0]), torch.tensor([-1, 0, 1]))
    assert same.tolist() == [[False, False, False], [False, True, False]]


def test_ranking_loss_is_the_mass_on_the_positives(query, database, positive):
    similarity = query @ database.T
    losses = teaching.ranking_loss(similarity, positive, 0.2)
    for i in range(4):
        mass = softmax([float(s) / 0.2 for s in similarity[i]])
        right = sum(m for m, p in zip(mass, positive[i], strict=True) if p)
        assert float(losses[i]) == pytest.approx(-math.log(right) if right else 0.0)
    assert positive[3].sum() == 0 and losses[3] == 0


def test_weights_follow_each_teachers_own_loss(teachers, positive):
    weights = teaching.adaptive_weights(teachers, positive, 0.1, 0.5)
    for i in range(4):
        losses = [float(teaching.ranking_loss(t, positive, 0.1)[i]) for t in teachers]
        expected = softmax([-loss / 0.5 for loss in losses])
        assert weights[i].tolist() == pytest.approx(expected)
    assert weights[3].tolist() == pytest.approx([1 / 3] * 3)


def test_one_teacher_has_all_the_weight_and_twins_share_it(teachers, positive):
    alone = teaching.adaptive_weights(teachers[:1], positive, 0.1, 0.5)
    assert torch.equal(alone, torch.ones(4, 1, dtype=alone.dtype))
    twins = teaching.adaptive_weights(teachers[[0, 0]], positive, 0.1, 0.5)
    assert torch.equal(twins, torch.full((4, 2), 0.5, dtype=twins.dtype))
    mean = teaching.mean_weights(teachers)
    assert torch.equal(mean, torch.full_like(mean, 1 / 3))


def test_a_teacher_that_is_always_wrong_loses_its_weight(positive):
    right = positive[:3].double()
    both = torch.stack([right, -right])
    shares = [
        float(teaching.adaptive_weights(both, positive[:3], 0.1, tau_w)[:, 1].max())
        for tau_w in (10.0, 2.0, 0.5)
    ]
    assert shares == sorted(shares, reverse=True) and shares[-1] < 1e-3


def test_soft_loss_is_distillation_with_the_mixed_teacher(query, database, teachers, positive):
    weights = teaching.adaptive_weights(teachers, positive, 0.1, 0.5)
    loss = teaching.soft_loss(query, database, teachers, weights, 0.3)
    expected = 0.0
    for i in range(4):
        mixed = [sum(float(weights[i, k] * teachers[k, i, j]) for k in range(3)) for j in range(6)]
        p = softmax([m / 0.3 for m in mixed])
        s = softmax([dot(query[i], database[j]) / 0.3 for j in range(6)])
        expected += sum(a * math.log(a / b) for a, b in zip(p, s, strict=True)) / 4
    assert float(loss) == pytest.approx(0.3**2 * expected)
    loss.backward()
    assert query.grad.abs().sum() > 0 and database.grad is None


def test_a_student_that_agrees_with_its_teacher_is_left_alone(query, database):
    similarity = (query @ database.T).detach()[None]
    loss = teaching.soft_loss(query, database, similarity, torch.ones(4, 1).double(), 0.1)
    loss.backward()
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    assert query.grad.abs().max() < 1e-9


def test_twins_teach_as_one(query, database, teachers):
    one = teaching.soft_loss(query, database, teachers[:1], torch.ones(4, 1).double(), 0.1)
    halves = torch.full((4, 2), 0.5).double()
    two = teaching.soft_loss(query, database, teachers[[0, 0]], halves, 0.1)
    assert float(one) == pytest.approx(float(two))


def test_hard_labels_are_the_truth_or_else_the_vote(teachers):
    weights = teaching.mean_weights(teachers).double()
    labels = teaching.hard_labels(teachers, weights, Q_PLACE, torch.full((6,), -1))
    votes = teachers.mean(0)
    assert labels.tolist() == [int(Q_PLACE[votes[:, j].argmax()]) for j in range(6)]
    known = teaching.hard_labels(teachers, weights, Q_PLACE, D_PLACE)
    assert torch.equal(known, D_PLACE)
    nobody = torch.full((4,), -1)
    assert (teaching.hard_labels(teachers, weights, nobody, D_PLACE * 0 - 1) == -1).all()


def test_hard_loss_ranks_the_queries_of_each_database_view(query, database):
    loss = teaching.hard_loss(query, database, D_PLACE, Q_PLACE, 0.2)
    terms = []
    for j in range(6):
        mass = softmax([dot(database[j], query[i]) / 0.2 for i in range(4)])
        right = sum(m for m, p in zip(mass, Q_PLACE, strict=True) if p == D_PLACE[j])
        terms += [-math.log(right)] if right else []
    assert len(terms) == 5 and float(loss) == pytest.approx(sum(terms) / 5)
    loss.backward()
    assert query.grad is None and database.grad.abs().sum() > 0


def test_descriptor_guidance_is_the_weighted_gap():
    student = [unit(4, 5, seed=k) for k in range(2)]
    teacher = [3.0 * unit(4, 5, seed=7 + k).detach() for k in range(2)]
    weights = torch.tensor([[0.2, 0.8]]).repeat(4, 1).double()
    loss = teaching.descriptor_guidance(student, teacher, weights)
    expected = sum(
        float(weights[i, k]) * (1 - dot(student[k][i], teacher[k][i]) / 3.0) / 4
        for i in range(4)
        for k in range(2)
    )
    assert float(loss) == pytest.approx(expected)
    assert float(teaching.descriptor_guidance(teacher, teacher, weights)) == pytest.approx(0.0)


def salient_maps(logits: torch.Tensor, side: int) -> torch.Tensor:
    """(B, M * side * side) → maps (B, M, side, side) that sum to 1."""
    shape = (len(logits), -1, side, side)
    return logits.reshape(shape).flatten(2).softmax(2).reshape(shape)


def test_salient_guidance_is_the_weighted_divergence_of_the_resized_map():
    student, teacher = salient_maps(unit(3, 18), 3), salient_maps(unit(3, 72, 1), 6)
    weight = torch.tensor([0.2, 0.8, 0.0]).double()
    loss = teaching.salient_guidance(student, teacher, weight)
    expected = 0.0
    for i, m in itertools.product(range(3), range(2)):
        for y, x in itertools.product(range(3), range(3)):
            block = teacher[i, m, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            t, s = float(block.sum()), float(student[i, m, y, x])
            expected += float(weight[i]) * t * math.log(t / s) / 6
    assert float(loss) == pytest.approx(expected)


def test_salient_guidance_is_zero_for_the_same_map_at_any_size():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 4, 4, generator=generator).double()
    maps = maps / maps.sum(dim=(2, 3), keepdim=True)
    larger = maps.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    flat = torch.full_like(maps, 1 / 16)
    ones = torch.ones(2).double()
    assert float(teaching.salient_guidance(maps, maps, ones)) == pytest.approx(0.0, abs=1e-7)
    assert float(teaching.salient_guidance(maps, larger, ones)) == pytest.approx(0.0, abs=1e-7)
    expected = (maps * (maps / flat).log()).sum(dim=(2, 3)).mean()
    assert float(teaching.salient_guidance(flat, maps, ones)) == pytest.approx(float(expected))
    half = teaching.salient_guidance(flat, maps, torch.tensor([1.0, 0.0]).double())
    first = (maps * (maps / flat).log()).sum(dim=(2, 3))[0].mean() / 2
    assert float(half) == pytest.approx(float(first))


def test_top_pairs_keep_the_positives_and_their_order(query, database, positive):
    similarity = (query @ database.T).detach()
    pairs = teaching.top_pairs(similarity, positive, 3)
    for i in range(4):
        kept = pairs[i].tolist()
        values = [float(similarity[i, j]) for j in kept]
        assert values == sorted(values, reverse=True) and len(set(kept)) == 3
        right = [j for j in range(6) if positive[i, j]]
        rest = sorted((j for j in range(6) if j not in right), key=lambda j: -similarity[i, j])
        assert set(kept) == set(right + rest[: 3 - len(right)])
    assert teaching.top_pairs(similarity, positive, 50).shape == (4, 6)


def test_ranking_network_starts_as_the_similarity_and_learns_to_beat_it():
    torch.manual_seed(0)
    size, network = 8, teaching.LossNetwork(8, 16)
    place = torch.arange(12)
    # The place is told by the last four dimensions; the first four, louder, are noise
    signal = torch.randn(12, 4)

    def views() -> torch.Tensor:
        return F.normalize(torch.cat([2.0 * torch.randn(12, 4), signal], dim=1), dim=1)

    q, d = views(), views()
    scores = network(q, d.expand(12, 12, size))
    assert torch.equal(scores.argsort(1), (q @ d.T).argsort(1))
    positive = teaching.same_place(place, place)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(300):
        loss = teaching.ranking_network_loss(network, views(), views(), positive, 12)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    by_network = by_similarity = 0
    for _ in range(20):
        q, d = views(), views()
        by_network += int((network(q, d.expand(12, 12, size)).argmax(1) == place).sum())
        by_similarity += int(((q @ d.T).argmax(1) == place).sum())
    assert by_network > 1.2 * by_similarity


def test_ranking_network_teaches_both_branches(query, database, positive):
    network = teaching.LossNetwork(8, 16).double()
    teaching.ranking_network_loss(network, query, database, positive, 4).backward()
    assert query.grad.abs().sum() > 0 and database.grad.abs().sum() > 0
    assert network.layers[-1].weight.grad.abs().sum() > 0


def plain_multi_similarity(x: torch.Tensor, places: list[int], eps: float = 0.1) -> torch.Tensor:
    """Wang et al. (CVPR 2019), equations 4 to 8 and 15, with loops; alpha 1, beta 50, lambda 0."""
    total = x.sum() * 0
    for i, place in enumerate(places):
        similarities = [(x[i] * x[j]).sum() for j in range(len(places))]
        right = [s for j, s in enumerate(similarities) if j != i and places[j] == place != -1]
        wrong = [s for j, s in enumerate(similarities) if j != i and not places[j] == place != -1]
        hard_right = [s for s in right if wrong and s < max(wrong) + eps]
        hard_wrong = [s for s in wrong if right and s > min(right) - eps]
        if hard_right:
            total = total + torch.log(1 + sum(torch.exp(-s) for s in hard_right))
        if hard_wrong:
            total = total + torch.log(1 + sum(torch.exp(50 * s) for s in hard_wrong)) / 50
    return total / len(places)


def test_multi_similarity_and_its_gradient_are_the_papers():
    places = [0, 0, 0, 1, 1, 2, -1, -1]
    for seed in range(5):
        ours, plain = unit(8, 4, seed), unit(8, 4, seed)
        a = teaching.multi_similarity(ours, torch.tensor(places))
        b = plain_multi_similarity(plain, places)
        assert float(a) == pytest.approx(float(b))
        a.backward()
        b.backward()
        torch.testing.assert_close(ours.grad, plain.grad)


def test_gradients_are_right(query, database, teachers, positive):
    weights = teaching.mean_weights(teachers).double()
    functions = {
        'soft': lambda q: teaching.soft_loss(q, database, teachers, weights, 0.2),
        'ranking': lambda q: teaching.ranking_loss(q @ database.T, positive, 0.2).sum(),
        'guidance': lambda q: teaching.descriptor_guidance([q], [unit(4, seed=5)], weights[:, :1]),
        'hard': lambda d: teaching.hard_loss(unit(4), d, D_PLACE[:4], Q_PLACE, 0.2),
        'salient': lambda m: teaching.salient_guidance(
            salient_maps(m, 2), salient_maps(unit(4, 32, 5), 4), weights[:, 0]
        ),
        'gate': lambda w: teaching.gate_loss(w[:, :3], teachers, positive, 0.2),
    }
    for function in functions.values():
        assert torch.autograd.gradcheck(function, (query,))


def test_without_any_positive_everything_is_finite_and_zero(query, database, teachers):
    nobody, empty = torch.full((4,), -1), torch.zeros(4, 6, dtype=torch.bool)
    losses = [
        teaching.ranking_loss(query @ database.T, empty, 0.1).sum(),
        teaching.hard_loss(query, database, torch.full((6,), -1), nobody, 0.1),
        teaching.ranking_network_loss(
            teaching.LossNetwork(8, 4).double(), query, database, empty, 3
        ),
    ]
    for loss in losses:
        assert float(loss) == 0.0
        loss.backward()
    assert query.grad.isfinite().all() and not query.grad.any()
    weights = teaching.adaptive_weights(teachers, empty, 0.1, 0.5)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))


def test_the_gate_starts_fair():
    weights = teaching.LearnedGate(8, 3)(unit(4).float())
    torch.testing.assert_close(weights, torch.full((4, 3), 1 / 3))


def test_gate_loss_is_the_ranking_of_the_mixed_teacher(teachers, positive):
    weights = unit(4, 3).softmax(1)
    loss = teaching.gate_loss(weights, teachers, positive, 0.2)
    terms = []
    for i in range(3):  # the fourth has no positive
        mixed = [sum(float(weights[i, k] * teachers[k, i, j]) for k in range(3)) for j in range(6)]
        mass = softmax([m / 0.2 for m in mixed])
        right = sum(m for m, p in zip(mass, positive[i], strict=True) if p)
        terms.append(-math.log(right))
    assert float(loss) == pytest.approx(sum(terms) / 3)


def test_frozen_teachers_get_no_gradient(query, database, teachers, positive):
    teachers.requires_grad_()
    assert not teaching.adaptive_weights(teachers, positive, 0.1, 0.5).requires_grad
    weights = teaching.mean_weights(teachers)
    assert weights.dtype == torch.float64
    teaching.soft_loss(query, database, teachers, weights, 0.2).backward()
    assert teachers.grad is None


def test_the_vote_is_weighted_and_an_unknown_query_has_none():
    # Query 0 is nearest for the second teacher, query 1 for the first, query 2 (unknown) for both
    teachers = torch.tensor([[[0.1], [0.4], [0.9]], [[0.8], [0.2], [0.9]]])
    places, unknown = torch.tensor([5, 6, -1]), torch.tensor([-1])
    for first, expected in ((0.9, 6), (0.1, 5)):
        weights = torch.tensor([[first, 1 - first]]).repeat(3, 1)
        labels = teaching.hard_labels(teachers, weights, places, unknown)
        assert labels.tolist() == [expected]


def test_salient_guidance_moves_a_student_that_is_sure_and_wrong():
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., 0, 0] = 30.0
    logits.requires_grad_()
    student = logits.flatten(2).softmax(2).unflatten(2, (4, 4))
    teacher = torch.zeros(1, 1, 4, 4)
    teacher[..., 3, 3] = 1.0
    teaching.salient_guidance(student, teacher, torch.ones(1)).backward()
    assert float(logits.grad[0, 0, 3, 3]) == pytest.approx(-1.0, abs=1e-3)
    zeros = teacher.flip(2, 3).requires_grad_()
    loss = teaching.salient_guidance(zeros, teacher, torch.ones(1))
    loss.backward()
    assert loss.isfinite() and zeros.grad.isfinite().all()


def test_ranking_network_loss_is_the_mean_over_queries_with_a_positive(query, database, positive):
    network = teaching.LossNetwork(8, 16).double()
    torch.nn.init.normal_(network.layers[-1].weight)
    terms = []
    for i in range(3):  # the fourth has no positive
        scores = [network(query[i : i + 1], d[None, None])[0, 0] for d in database]
        right = sum(s.exp() for s, p in zip(scores, positive[i], strict=True) if p)
        terms.append(-(right / sum(s.exp() for s in scores)).log())
    expected = sum(terms) / 3
    loss = teaching.ranking_network_loss(network, query, database, positive, 6)
    torch.testing.assert_close(loss, expected)
    for ours, plain in zip(
        torch.autograd.grad(loss, (query, database)),
        torch.autograd.grad(expected, (query, database)),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)


def test_multi_similarity_counts_from_its_base():
    pair = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    loss = teaching.multi_similarity(pair, torch.tensor([0, 0, 1]), base=0.5)
    right = 2 * math.log1p(math.exp(-(0.6 - 0.5)))
    wrong = sum(math.log1p(math.exp(50 * (s - 0.5))) / 50 for s in (0.8, 0.96))
    assert float(loss) == pytest.approx((right + wrong) / 3)
