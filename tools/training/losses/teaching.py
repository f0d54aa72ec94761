# SPDX-License-Identifier: Apache-2.0
"""The steps of ASHT-KD's teaching, one small function each (method.md, "Teaching").

Q query views, D database views, K teachers; descriptors float32 of length 1, similarity their
inner product; places int64, -1 = unknown. The steps are the paper's (Li et al., IEEE T-ITS 2025);
its formulas are not public, so each docstring names where this project's formulation comes from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_NEVER = -1e4  # a logit that takes no mass, and gives no NaN as -inf would


def same_place(query_place: torch.Tensor, database_place: torch.Tensor) -> torch.Tensor:
    """int64 (Q,) and (D,) → bool (Q, D): both known and equal."""
    return (query_place[:, None] == database_place) & (query_place[:, None] >= 0)


def ranking_loss(similarity: torch.Tensor, positive: torch.Tensor, tau: float) -> torch.Tensor:
    """-log of the softmax mass on the positives: float (Q, D), bool (Q, D) → (Q,).

    0 for a query without a positive.
    """
    logits = similarity / tau
    right = logits.masked_fill(~positive, _NEVER).logsumexp(1)
    return torch.where(positive.any(1), logits.logsumexp(1) - right, 0.0)


@torch.no_grad()
def adaptive_weights(
    teacher_similarity: torch.Tensor, positive: torch.Tensor, tau: float, tau_w: float
) -> torch.Tensor:
    """Step 1: (K, Q, D), bool (Q, D) → (Q, K), rows sum to 1.

    w_ik = softmax over k of (-l_ik / tau_w), l_ik the ranking loss of teacher k alone: confidence
    weighting of CA-MKD (Zhang et al., ICASSP 2022). Equal weights where there is no positive.
    """
    losses = torch.stack([ranking_loss(s, positive, tau) for s in teacher_similarity], dim=1)
    return (-losses / tau_w).softmax(dim=1)


def mean_weights(teacher_similarity: torch.Tensor) -> torch.Tensor:
    """The ablation of step 1: (K, Q, D) → (Q, K), all 1/K."""
    count, queries = teacher_similarity.shape[:2]
    return teacher_similarity.new_full((queries, count), 1.0 / count)


class LearnedGate(nn.Module):
    """Step 1 by a learned gate: query descriptors (Q, C) → weights (Q, K).

    After AMTML-KD (Liu et al., arXiv 2103.04062): one latent vector a teacher, softmax of its
    product with the student's descriptor. Theirs sits on a feature map; here on the descriptor,
    with a bias a teacher, since descriptors may point anywhere. Trained by `gate_loss`.
    """

    def __init__(self, dimensions: int, teachers: int):
        super().__init__()
        self.latent = nn.Linear(dimensions, teachers)
        nn.init.zeros_(self.latent.weight)
        nn.init.zeros_(self.latent.bias)
        self.size = dimensions**0.5  # without it, a training of some hundred steps moves little

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        return (self.size * self.latent(query)).softmax(dim=1)


def gate_loss(
    weights: torch.Tensor, teacher_similarity: torch.Tensor, positive: torch.Tensor, tau: float
) -> torch.Tensor:
    """(Q, K), (K, Q, D), bool (Q, D) → ranking loss of the mixed teacher sum_k w_ik sim_k.

    Mean over the queries with a positive, 0 where there is none. This project's choice: the soft
    labels would favour the teacher that is nearest to the student, right or wrong.
    """
    mixed = torch.einsum('qk,kqd->qd', weights, teacher_similarity)
    losses = ranking_loss(mixed, positive, tau)
    return losses.sum() / positive.any(1).sum().clamp(min=1)


def soft_loss(
    query: torch.Tensor,
    database: torch.Tensor,
    teacher_similarity: torch.Tensor,
    weights: torch.Tensor,
    tau_t: float,
) -> torch.Tensor:
    """Step 2, query branch: (Q, C), (D, C), (K, Q, D), (Q, K) → mean over the queries.

    tau_t^2 * KL(p_i || softmax_j(sim_S / tau_t)), p_i = softmax_j(sum_k w_ik sim_k / tau_t)
    (Hinton et al., 2015, with several teachers). No gradient reaches the database views.
    """
    mixed = torch.einsum('qk,kqd->qd', weights, teacher_similarity.detach())
    target = (mixed / tau_t).log_softmax(dim=1)
    ours = (query @ database.detach().T / tau_t).log_softmax(dim=1)
    return tau_t**2 * F.kl_div(ours, target, reduction='batchmean', log_target=True)


@torch.no_grad()
def hard_labels(
    teacher_similarity: torch.Tensor,
    weights: torch.Tensor,
    query_place: torch.Tensor,
    database_place: torch.Tensor,
) -> torch.Tensor:
    """Step 3's labels: the teachers' weighted vote for each database view, int64 (D,).

    The place of the query view with the highest sum_k w_ik sim_k(q_i, d_j), among queries whose
    place is known; -1 where none is. A database view's own place, where known, stands.
    """
    votes = torch.einsum('qk,kqd->qd', weights, teacher_similarity)
    votes = votes.masked_fill((query_place < 0)[:, None], _NEVER)
    return torch.where(database_place >= 0, database_place, query_place[votes.argmax(dim=0)])


def hard_loss(
    query: torch.Tensor,
    database: torch.Tensor,
    labels: torch.Tensor,
    query_place: torch.Tensor,
    tau: float,
) -> torch.Tensor:
    """Step 3, database branch: cross-entropy of softmax_i(sim_S(d_j, q_i) / tau) to the label.

    Mean over the database views (D, C) whose label (D,) is among the queries' places; 0 where
    there is none. No gradient reaches the query views.
    """
    positive = same_place(labels, query_place)
    losses = ranking_loss(database @ query.detach().T, positive, tau)
    return losses.sum() / positive.any(1).sum().clamp(min=1)


def descriptor_guidance(
    student: list[torch.Tensor], teacher: list[torch.Tensor], weights: torch.Tensor
) -> torch.Tensor:
    """Step 4: K pairs (B, C_k), weights (B, K) → mean over B of sum_k w_ik (1 - cos(s, t))."""
    pairs = zip(student, teacher, strict=True)
    gaps = torch.stack([1 - F.cosine_similarity(s, t, dim=1) for s, t in pairs], dim=1)
    return (weights * gaps).sum(dim=1).mean()


def salient_guidance(
    student: torch.Tensor, teacher: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Step 4 for salient maps: (B, M, h, w), (B, M, H, W), (B,) → weighted KL(teacher || student).

    The teacher's map is resized to the student's and sums to 1 again; mean over B and M.
    """
    target = F.adaptive_avg_pool2d(teacher, student.shape[2:]).flatten(2)
    target = target / target.sum(dim=2, keepdim=True).clamp(min=1e-9)
    ours = student.flatten(2).clamp(min=1e-30).log()  # higher, it would stop the gradient
    divergence = F.kl_div(ours, target, reduction='none').sum(dim=2)
    return (weight[:, None] * divergence).mean()


def top_pairs(similarity: torch.Tensor, positive: torch.Tensor, x: int) -> torch.Tensor:
    """Step 5: the x most similar database views of each query, the positives always among them.

    (Q, D), bool (Q, D) → int64 (Q, min(x, D)), most similar first. Similarities in [-1, 1].
    """
    chosen = (similarity + 4.0 * positive).topk(min(x, similarity.shape[1]), dim=1).indices
    order = similarity.gather(1, chosen).argsort(dim=1, descending=True)
    return chosen.gather(1, order)


class LossNetwork(nn.Module):
    """Step 5: query (Q, C), candidates (Q, X, C) → ranking score of each pair (Q, X).

    A pair is the correlation of its descriptors kept a dimension, their distance a dimension, and
    the similarity; linear → small network → linear. The last layer starts at zero: at first the
    score is the similarity times a learned scale, so that training can only add to it.
    """

    def __init__(self, dimensions: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * dimensions + 1, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.size = dimensions**0.5  # a dimension of a unit vector is about 1 / size

    def forward(self, query: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        product = query[:, None] * candidates
        similarity = product.sum(dim=2, keepdim=True)
        pair = torch.cat(
            [self.size**2 * product, self.size * (query[:, None] - candidates).abs(), similarity],
            dim=2,
        )
        return self.scale * similarity[..., 0] + self.layers(pair)[..., 0]


def ranking_network_loss(
    network: LossNetwork,
    query: torch.Tensor,
    database: torch.Tensor,
    positive: torch.Tensor,
    x: int,
    unsure: torch.Tensor | None = None,
) -> torch.Tensor:
    """Step 5: cross-entropy of the network's scores over the top-x pairs; through both branches.

    Mean over the queries with a positive, 0 where there is none. `unsure`: bool (Q, D), pairs that
    are no candidates as long as there are others.
    """
    similarity = (query @ database.T).detach()
    if unsure is not None:
        similarity = similarity.masked_fill(unsure, -1.0)
    pairs = top_pairs(similarity, positive, x)
    losses = ranking_loss(network(query, database[pairs]), positive.gather(1, pairs), 1.0)
    return losses.sum() / positive.any(1).sum().clamp(min=1)


def multi_similarity(
    descriptors: torch.Tensor,
    places: torch.Tensor,
    alpha: float = 1.0,
    beta: float = 50.0,
    base: float = 0.0,
    eps: float = 0.1,
) -> torch.Tensor:
    """Step 6: multi-similarity loss with its miner (Wang et al., CVPR 2019), mean over (N,).

    (N, C) of length 1, int64 (N,). Mined: negatives above the least similar positive - eps,
    positives below the most similar negative + eps; none where there is nothing to compare with,
    as in its public implementations. `base` is the paper's lambda: 1 there
    (so pytorch-metric-learning's pages), 0 here.
    """
    similarity = descriptors @ descriptors.T
    positive = same_place(places, places)
    negative = ~positive
    self_pair = torch.eye(len(places), dtype=torch.bool, device=places.device)
    positive, negative = positive & ~self_pair, negative & ~self_pair
    with torch.no_grad():
        hardest = similarity.masked_fill(~negative, _NEVER).amax(dim=1, keepdim=True)
        weakest = similarity.masked_fill(~positive, -_NEVER).amin(dim=1, keepdim=True)
        kept_positive = positive & (similarity < hardest + eps)
        kept_negative = negative & (similarity > weakest - eps)
    zero = torch.zeros(len(places), 1, device=places.device, dtype=similarity.dtype)

    def term(scale: float, kept: torch.Tensor) -> torch.Tensor:
        logits = (scale * (similarity - base)).masked_fill(~kept, _NEVER)
        return torch.cat([zero, logits], dim=1).logsumexp(dim=1) / abs(scale)

    return (term(-alpha, kept_positive) + term(beta, kept_negative)).mean()
