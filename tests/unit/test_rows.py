"""Valid rows packed into minibatches of one size."""

import math
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.algorithms import rows
from cartpole_cli.algorithms.rows import Packing, Rows, pack

pytestmark = pytest.mark.shapes

# S = 2, T = 3, N = 2; a row's number is t * N + n. Seed 0 has the valid rows 0 2 3 5, seed 1 all six.
VALID = torch.tensor([[[True, False], [True, True], [False, True]], [[True, True], [True, True], [True, True]]])
ROW = torch.arange(6).view(1, 3, 2).expand(2, 3, 2)


def uniform(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def used(packing: Packing, row: Tensor) -> list[list[int]]:
    """The rows each seed uses, in order."""
    return [taken[mask].tolist() for taken, mask in zip(packing.take_columns(row)[0], packing.mask, strict=True)]


def test_in_order_the_valid_rows_come_first_and_keep_their_order():
    assert used(pack(VALID, 4), ROW) == [[0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


def test_in_order_the_mask_is_true_for_as_many_rows_as_are_valid_and_then_false():
    packing = pack(VALID, 4)
    # 6 rows in minibatches of 4: two of them
    assert packing.mask.tolist() == [
        [[True, True, True, True], [False, False, False, False]],
        [[True, True, True, True], [True, True, False, False]],
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 100])
def test_every_valid_row_is_used_exactly_once_shuffled_or_not(size: int):
    for key in (None, uniform((2, 3, 2))):
        assert [sorted(rows) for rows in used(pack(VALID, size, key), ROW)] == [[0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


def test_a_key_orders_the_valid_rows_by_its_numbers():
    key = torch.tensor([[[0.9, 0.0], [0.1, 0.5], [0.2, 0.3]], [[0.5, 0.4], [0.3, 0.2], [0.1, 0.0]]])
    assert used(pack(VALID, 4, key), ROW) == [[2, 5, 3, 0], [5, 4, 3, 2, 1, 0]]


def test_keys_at_the_ends_of_their_interval_do_not_let_invalid_rows_in():
    key = torch.where(VALID, 1 - 2**-24, 0.0)
    assert [sorted(rows) for rows in used(pack(VALID, 4, key), ROW)] == [[0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


def test_different_keys_shuffle_differently():
    valid, row = torch.ones(1, 50, 4, dtype=torch.bool), torch.arange(200).view(1, 50, 4)
    first, second = (used(pack(valid, 64, uniform((1, 50, 4), seed)), row)[0] for seed in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(200))


def test_only_the_last_filled_minibatch_is_ragged():
    valid = torch.zeros(1, 10, 2, dtype=torch.bool)
    valid[:, :7] = True  # 14 of 20 rows
    counts = pack(valid, 4, uniform((1, 10, 2))).mask.sum(dim=2)
    assert counts.tolist() == [[4, 4, 4, 2, 0]]


@pytest.mark.parametrize("valid_rows", [0, 1, 17, 30])
def test_shapes_depend_on_time_environments_and_size_alone(valid_rows: int):
    valid = (torch.arange(30) < valid_rows).view(1, 10, 3).expand(2, 10, 3)
    for key in (None, uniform((2, 10, 3))):
        packing = pack(valid, 7, key)
        assert packing.index.shape == packing.mask.shape == (2, 5, 7)  # ceil(30 / 7) = 5


def test_a_size_beyond_the_number_of_rows_makes_one_padded_minibatch():
    packing = pack(VALID, 10)
    assert packing.mask.shape == (2, 1, 10)
    assert packing.mask.sum(dim=2).tolist() == [[4], [6]]


def test_take_picks_each_seeds_own_rows_with_all_their_columns():
    column = torch.arange(24.0).view(2, 3, 2, 2)
    taken = pack(VALID, 4).take_columns(column)[0]
    assert taken.shape == (2, 2, 4, 2)
    assert taken[0, 0].tolist() == [[0, 1], [4, 5], [6, 7], [10, 11]]  # rows 0 2 3 5 of seed 0
    assert taken[1, 0].tolist() == [[12, 13], [14, 15], [16, 17], [18, 19]]  # rows 0 1 2 3 of seed 1
    assert taken[1, 1, :2].tolist() == [[20, 21], [22, 23]]


def test_padding_repeats_a_valid_row():
    """Garbage of an invalid row, even times weight 0, could be nan."""
    for key in (None, uniform((2, 3, 2))):
        packing = pack(VALID, 4, key)
        rows_in_padding = packing.take_columns(ROW)[0][0][~packing.mask[0]].tolist()
        assert len(rows_in_padding) == 4
        assert set(rows_in_padding) <= {0, 2, 3, 5}


def test_take_keeps_columns_of_the_same_rows_together():
    packing = pack(VALID, 4, uniform((2, 3, 2)))
    assert torch.equal(packing.take_columns(ROW * 10.0)[0], packing.take_columns(ROW)[0] * 10.0)


def test_take_keeps_a_seeds_rows_out_of_another_seed():
    column = torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, 3, 2)
    taken = pack(VALID, 4, uniform((2, 3, 2))).take_columns(column)[0]
    assert taken.flatten(1).unique(dim=1).tolist() == [[1.0], [2.0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered(Rows):
    number: Float[Tensor, "S *rows"]
    of_seed: Float[Tensor, "S"]
    of_episode: Float[Tensor, "S N"]


def numbered() -> Numbered:
    number = ROW * 1.0
    return Numbered(
        observation=torch.stack([number, -number], dim=3),
        action=ROW,
        weight=VALID * 0.5,
        number=number,
        of_seed=torch.tensor([7.0, 8.0]),
        of_episode=torch.ones(2, 2),
    )


def test_take_packs_all_columns_lets_padding_weigh_nothing_and_leaves_other_numbers_alone():
    packing, rows = pack(VALID, 4, uniform((2, 3, 2))), numbered()
    taken = packing.take(rows)
    assert torch.equal(taken.weight, packing.mask * 0.5)
    assert torch.equal(taken.valid, packing.mask)
    assert torch.equal(taken.number, packing.take_columns(ROW)[0] * 1.0)
    assert torch.equal(taken.observation, torch.stack([taken.number, -taken.number], dim=3))
    assert taken.of_seed is rows.of_seed
    assert taken.of_episode is rows.of_episode


def test_split_makes_one_record_per_minibatch():
    packing = pack(VALID, 4)
    taken = packing.take(numbered())
    records = packing.split(taken)
    assert len(records) == 2
    for place, record in enumerate(records):
        assert record.columns().keys() == {"observation"}  # the only one of three axes now
        for name, column in taken.columns().items():
            assert torch.equal(getattr(record, name), column[:, place]), name
        assert record.of_seed is taken.of_seed


@pytest.mark.parametrize(("valid_rows", "expected"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (12, 3)])
def test_filled_leaves_out_minibatches_without_a_valid_row_but_one(valid_rows: int, expected: int):
    valid = (torch.arange(12) < valid_rows).view(1, 6, 2)
    packing = pack(valid, 4)
    filled = packing.filled()
    assert filled.index.shape == filled.mask.shape == (1, expected, 4)
    assert filled.mask.sum() == valid_rows
    assert torch.equal(filled.index, packing.index[:, :expected])


def test_filled_goes_by_the_seed_with_most_rows():
    valid = torch.stack([(torch.arange(12) < rows).view(6, 2) for rows in (1, 9, 4)])
    packing = pack(valid, 4).filled()
    # of four rows each: 1, 4 + 4 + 1, 4
    assert packing.mask.sum(dim=2).tolist() == [[1, 0, 0], [4, 4, 1], [4, 0, 0]]


def test_filled_keeps_every_valid_row():
    assert used(pack(VALID, 4, uniform((2, 3, 2))).filled(), ROW) == used(pack(VALID, 4, uniform((2, 3, 2))), ROW)


def test_for_valid_rows_gives_values_at_valid_rows_and_zeros_elsewhere():
    column, factor = torch.arange(1.0, 13).view(2, 3, 2), torch.tensor([10.0, 100.0]).view(2, 1, 1).expand(2, 3, 2)
    result = rows.for_valid_rows(lambda x, y: x * y + 1, VALID, column, factor)
    # seed 0: 10 times 1 . | 3 4 | . 6, plus 1; seed 1: 100 times 7 to 12, plus 1
    expected = [[[11.0, 0.0], [31.0, 41.0], [0.0, 61.0]], [[701.0, 801.0], [901.0, 1001.0], [1101.0, 1201.0]]]
    assert result.tolist() == expected


def test_for_valid_rows_never_shows_the_function_an_invalid_row():
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    column = torch.arange(1.0, 13).view(2, 3, 2)
    result = rows.for_valid_rows(function, VALID, torch.where(VALID, column, math.nan))
    assert not any(x.isnan().any() for x in seen)
    assert torch.equal(result, torch.where(VALID, column, 0.0))


@pytest.mark.parametrize("rows_per_part", [1, 2, 4, 5, 6, 7])
def test_for_valid_rows_works_part_by_part(rows_per_part: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "ROWS_PER_PART", rows_per_part)
    shapes = []

    def function(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x + 0.5

    result = rows.for_valid_rows(function, VALID, ROW.float())
    assert shapes == [(2, rows_per_part)] * -(-6 // rows_per_part)  # seed 1 has six rows
    assert torch.equal(result, torch.where(VALID, ROW + 0.5, 0.0))


def test_for_valid_rows_leaves_out_parts_that_no_seed_fills(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "ROWS_PER_PART", 1)
    shapes = []

    def function(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x

    rows.for_valid_rows(function, VALID[:1].expand(2, 3, 2), ROW.float())
    assert shapes == [(2, 1)] * 4  # of six rows


def test_for_valid_rows_of_more_rows_than_one_part_holds():
    num_rows = 2 * rows.ROWS_PER_PART + 300
    valid = uniform((2, num_rows // 2, 2)) < torch.tensor([0.9, 0.3]).view(2, 1, 1)
    assert valid.sum(dim=(1, 2))[0] > rows.ROWS_PER_PART > valid.sum(dim=(1, 2))[1]
    column = torch.arange(1.0, 2 * num_rows + 1).view(valid.shape)
    assert torch.equal(rows.for_valid_rows(lambda x: -x, valid, column), torch.where(valid, -column, 0.0))


def test_for_valid_rows_takes_and_gives_trailing_dimensions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "ROWS_PER_PART", 4)
    column = torch.arange(1.0, 37).view(2, 3, 2, 3)
    # three features in; a 2 x 2 matrix of the first and the last out
    result = rows.for_valid_rows(lambda x: torch.stack([x[..., ::2], -x[..., ::2]], dim=-1), VALID, column)
    assert result.shape == (2, 3, 2, 2, 2)
    assert result[0, 1, 1].tolist() == [[10.0, -10.0], [12.0, -12.0]]  # row 3 of seed 0: features 10 11 12
    assert result[1, 0, 0].tolist() == [[19.0, -19.0], [21.0, -21.0]]
    assert not result[~VALID].any()
    assert result[VALID].all()


def test_for_valid_rows_of_a_seed_without_valid_rows_is_zero_and_leaves_the_other_alone():
    valid = VALID.clone()
    valid[0] = False
    column = torch.arange(1.0, 13).view(2, 3, 2)
    column[0] = math.nan
    result = rows.for_valid_rows(lambda x: x + 1, valid, column)
    assert result[0].tolist() == [[0.0, 0.0]] * 3
    assert torch.equal(result[1], column[1] + 1)


def test_for_valid_rows_without_any_valid_row_is_zero():
    result = rows.for_valid_rows(lambda x: x + 1, torch.zeros_like(VALID), torch.ones(2, 3, 2))
    assert torch.equal(result, torch.zeros(2, 3, 2))


def test_a_seed_is_packed_as_it_would_be_alone():
    key = uniform((2, 3, 2))
    both = pack(VALID, 4, key)
    for seed in range(2):
        row = slice(seed, seed + 1)
        alone = pack(VALID[row], 4, key[row])
        assert torch.equal(both.index[row], alone.index)
        assert torch.equal(both.mask[row], alone.mask)


def test_for_all_rows_works_part_by_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 4)
    column, factor = torch.arange(12.0).view(2, 3, 2), torch.arange(12.0).view(2, 3, 2) - 3
    seen = []

    def function(x: Tensor, y: Tensor) -> Tensor:
        seen.append(x.shape[1])
        return x * y

    assert torch.equal(rows.for_all_rows(function, column, factor), column * factor)
    assert seen == [4, 2]
