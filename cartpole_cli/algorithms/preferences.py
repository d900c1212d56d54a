"""Who is preferred to whom, and over which steps: pure functions of returns and lengths.

S seeds, N episodes in Q groups of G, P pairs of each group. The last axis of a pair is (better, worse).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


def make_pairs(
    returns: Float[Tensor, "S N"], group_size: int, kind: Literal["best_worst", "all"], max_pairs: int
) -> Int[Tensor, "S Q P 2"]:
    """Pairs of episodes of one group, as numbers of episodes: (the one of higher return, the other).

    best_worst: the best with the worst, the second best with the second worst, and so on. all: each with each,
    in the order of their margins, the widest first. Of either the first `max_pairs`. Ties are among them.
    """
    groups = returns.view(returns.shape[0], -1, group_size)
    order = groups.argsort(dim=2, descending=True, stable=True)
    if kind == "best_worst":
        pairs = torch.stack([order, order.flip(2)], dim=3)[:, :, : group_size // 2]
    else:
        better, worse = torch.triu_indices(group_size, group_size, 1, device=returns.device)
        ranked = groups.gather(2, order)
        by_margin = (ranked[:, :, better] - ranked[:, :, worse]).argsort(dim=2, descending=True, stable=True)
        pairs = torch.stack([order.gather(2, better[by_margin]), order.gather(2, worse[by_margin])], dim=3)
    first = torch.arange(groups.shape[1], device=returns.device) * group_size
    return pairs[:, :, :max_pairs] + first[:, None, None]


def of_pairs(value: Shaped[Tensor, "S N"], pairs: Int[Tensor, "S Q P 2"]) -> Shaped[Tensor, "S Q P 2"]:
    """A number of each episode, for the episodes of each pair."""
    return value.gather(1, pairs.flatten(1)).view(pairs.shape)


def windows(
    length: Int[Tensor, "*pairs 2"], kind: Literal["same_length", "last_k", "full"], steps: int
) -> tuple[Int[Tensor, "*pairs 2"], Int[Tensor, "*pairs 2"]]:
    """The steps of each episode of a pair that are compared: from a first one up to, not including, an end.

    A sum over more steps is larger, whatever they were worth, and most steps of a short episode were fine. So
    same_length takes of both as many as the shorter has; last_k the last `steps` of these: those before the
    shorter one's failure, and the other's at the same time. full takes whole episodes, as for texts.
    """
    end = length if kind == "full" else length.amin(dim=-1, keepdim=True).expand_as(length)
    start = (end - steps).clamp(min=0) if kind == "last_k" else torch.zeros_like(end)
    return start, end


def rows_in_windows(
    first: Int[Tensor, "S Q P 2"], last: Int[Tensor, "S Q P 2"], kept: Bool[Tensor, "S Q P"], shape: Sequence[int]
) -> Bool[Tensor, "S T N"]:
    """The rows of a rollout of `shape` that lie in a window of a pair that is kept.

    `first` and `last` are a window's beginning and end as places in a table [N, T + 1].
    """
    num_seeds, num_steps, num_envs = shape
    opened = kept.unsqueeze(3).expand_as(first).flatten(1).long()
    table = torch.zeros(num_seeds, num_envs * (num_steps + 1), dtype=torch.int64, device=first.device)
    table = table.scatter_add(1, first.flatten(1), opened).scatter_add(1, last.flatten(1), -opened)
    return table.view(num_seeds, num_envs, num_steps + 1).cumsum(dim=2)[:, :, :-1].transpose(1, 2) > 0


def bradley_terry_errs(
    margin: Float[Tensor, "S *pairs"], temperature: Float[Tensor, "S"], noise: Float[Tensor, "S *pairs"]
) -> Bool[Tensor, "S *pairs"]:
    """Whether a rater prefers the worse one, which happens with probability 1 / (1 + exp(margin / temperature)).

    Bradley and Terry (1952); `noise` is uniform in [0, 1).
    """
    relative = margin / temperature.view(-1, *[1] * (margin.dim() - 1))
    return noise * (1 + relative.exp()) < 1
