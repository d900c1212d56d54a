"""Rollouts as rows: the valid ones packed to the front and cut into minibatches of one fixed size."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ROWS_PER_PART = 1024
"""Rows of one forward and backward pass where a step takes all rows there are."""
ROWS_AT_ONCE = 4096
"""Rows of one forward pass without gradient: what is between its layers stays in the cache."""
RowsT = TypeVar("RowsT", bound="Rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Transitions and what an algorithm aims at: of a whole rollout, [S, T, N], or of a minibatch, [S, B].

    A field of three axes or more is a column, and is packed; one number per seed or per episode stays as it is.
    """

    observation: Float[Tensor, "S *rows O"]
    action: Tensor
    weight: Float[Tensor, "S *rows"]
    """What each row counts; 0 where it is not valid. A seed whose weights are all 0 takes no step."""

    @property
    def valid(self) -> Bool[Tensor, "S *rows"]:
        return self.weight > 0

    def columns(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor) and value.dim() > 2}


@dataclass(frozen=True, slots=True)
class Packing:
    """M minibatches of B rows. `mask` is False where a minibatch is padded; only the last filled one is."""

    index: Int[Tensor, "S M B"]
    mask: Bool[Tensor, "S M B"]

    def take(self, rows: RowsT) -> RowsT:
        """A rollout's rows as minibatches [S, M, B, ...], where padding weighs nothing."""
        columns = rows.columns()
        taken = dict(zip(columns, self.take_columns(*columns.values()), strict=True))
        return replace(rows, **taken | {"weight": taken["weight"] * self.mask})

    def take_columns(self, *columns: Tensor) -> list[Tensor]:
        """Columns of a rollout, [S, T, N, ...], as minibatches [S, M, B, ...]."""
        num_seeds, num_rows = columns[0].shape[0], columns[0].shape[1] * columns[0].shape[2]
        first_row = torch.arange(num_seeds, device=self.index.device) * num_rows
        index = (self.index + first_row[:, None, None]).flatten()
        return [
            column.flatten(0, 2).index_select(0, index).view(*self.index.shape, *column.shape[3:]) for column in columns
        ]

    def split(self, rows: RowsT) -> list[RowsT]:
        """Minibatches [S, M, B, ...] as M records of rows [S, B, ...]."""
        columns = rows.columns()
        return [
            replace(rows, **{name: column[:, m] for name, column in columns.items()})
            for m in range(self.index.shape[1])
        ]

    def filled(self) -> "Packing":
        """Without the minibatches that hold no valid row of any seed, but at least one (the host waits here)."""
        count = max(1, int(self.mask.any(dim=2).any(dim=0).sum()))
        return Packing(self.index[:, :count], self.mask[:, :count])


def for_all_rows(function: Callable[..., Float[Tensor, "S B"]], *columns: Tensor) -> Float[Tensor, "S T N"]:
    """function(*columns) of all rows of a rollout, part by part."""
    parts = zip(*(torch.split(column.flatten(1, 2), ROWS_AT_ONCE, dim=1) for column in columns), strict=True)
    return torch.cat([function(*part) for part in parts], dim=1).view(columns[0].shape[:3])


def for_valid_rows(
    function: Callable[..., Float[Tensor, "S B *rest"]], valid: Bool[Tensor, "S T N"], *columns: Tensor
) -> Float[Tensor, "S T N *rest"]:
    """function(*columns) of the valid rows, part by part; zeros elsewhere."""
    packing = pack(valid, ROWS_PER_PART).filled()
    taken = packing.take_columns(*columns)
    values = torch.cat([function(*(column[:, m] for column in taken)) for m in range(packing.index.shape[1])], dim=1)
    num_rows = valid[0].numel()
    place = torch.where(packing.mask, packing.index, num_rows).flatten(1)
    result = values.new_zeros(values.shape[0], num_rows + 1, *values.shape[2:])
    shape = (*place.shape, *[1] * (values.dim() - 2))
    result.scatter_(1, place.view(shape).expand_as(values), values)
    return result[:, :num_rows].reshape(*valid.shape, *values.shape[2:])


def pack(valid: Bool[Tensor, "S T N"], size: int, key: Float[Tensor, "S T N"] | None = None) -> Packing:
    """Cut the valid rows into minibatches of `size` rows: in order, or shuffled by uniform `key`s.

    Every valid row is used exactly once. The shapes depend on T, N and size alone.
    """
    invalid = (~valid).flatten(1)
    # Keys are below 1, so that invalid rows come last.
    rank = invalid.float() if key is None else key.flatten(1) + 2.0 * invalid
    order = rank.argsort(dim=1, stable=True)
    num_rows = order.shape[1]
    num_batches = -(-num_rows // size)
    position = torch.arange(num_batches * size, device=valid.device)
    mask = position < (num_rows - invalid.sum(dim=1, keepdim=True))
    # Padding repeats the first row, a valid one: garbage times weight 0 could still be nan.
    index = torch.where(mask, order[:, position % num_rows], order[:, :1])
    return Packing(index.view(-1, num_batches, size), mask.view(-1, num_batches, size))
