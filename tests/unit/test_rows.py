"""Valid rows packed into minibatches of one size."""

import pytest
import torch
from torch import Tensor

from cartpole_cli.algorithms.rows import Packing, pack

# S = 2, T = 3, N = 2; a row's number is t * N + n. Seed 0 has the valid rows 0 2 3 5, seed 1 all six.
VALID = torch.tensor([[[True, False], [True, True], [False, True]], [[True, True], [True, True], [True, True]]])
ROW = torch.arange(6).view(1, 3, 2).expand(2, 3, 2)


def uniform(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def used(packing: Packing, row: Tensor) -> list[list[int]]:
    """The rows each seed uses, in order."""
    return [taken[mask].tolist() for taken, mask in zip(packing.take(row), packing.mask, strict=True)]


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
    taken = pack(VALID, 4).take(column)
    assert taken.shape == (2, 2, 4, 2)
    assert taken[0, 0].tolist() == [[0, 1], [4, 5], [6, 7], [10, 11]]  # rows 0 2 3 5 of seed 0
    assert taken[1, 0].tolist() == [[12, 13], [14, 15], [16, 17], [18, 19]]  # rows 0 1 2 3 of seed 1
    assert taken[1, 1, :2].tolist() == [[20, 21], [22, 23]]


def test_padding_repeats_a_valid_row():
    """Garbage of an invalid row, even times weight 0, could be nan."""
    for key in (None, uniform((2, 3, 2))):
        packing = pack(VALID, 4, key)
        rows_in_padding = packing.take(ROW)[0][~packing.mask[0]].tolist()
        assert len(rows_in_padding) == 4
        assert set(rows_in_padding) <= {0, 2, 3, 5}


def test_take_keeps_columns_of_the_same_rows_together():
    packing = pack(VALID, 4, uniform((2, 3, 2)))
    assert torch.equal(packing.take(ROW * 10.0), packing.take(ROW) * 10.0)


def test_take_keeps_a_seeds_rows_out_of_another_seed():
    column = torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, 3, 2)
    taken = pack(VALID, 4, uniform((2, 3, 2))).take(column)
    assert taken.flatten(1).unique(dim=1).tolist() == [[1.0], [2.0]]


def test_split_makes_one_record_per_minibatch():
    packing = pack(VALID, 4)
    columns = {"row": packing.take(ROW), "mask": packing.mask}
    records = packing.split(columns)
    assert len(records) == 2
    for number, record in enumerate(records):
        assert record.keys() == columns.keys()
        assert torch.equal(record["row"], columns["row"][:, number])
        assert torch.equal(record["mask"], columns["mask"][:, number])


@pytest.mark.parametrize(("valid_rows", "expected"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (12, 3)])
def test_num_filled_counts_minibatches_with_a_valid_row(valid_rows: int, expected: int):
    valid = (torch.arange(12) < valid_rows).view(1, 6, 2)
    assert pack(valid, 4).num_filled == expected


def test_num_filled_goes_by_the_seed_with_most_rows():
    valid = torch.stack([(torch.arange(12) < rows).view(6, 2) for rows in (1, 9, 4)])
    assert pack(valid, 4).num_filled == 3


def test_a_seed_is_packed_as_it_would_be_alone():
    key = uniform((2, 3, 2))
    both = pack(VALID, 4, key)
    for seed in range(2):
        row = slice(seed, seed + 1)
        alone = pack(VALID[row], 4, key[row])
        assert torch.equal(both.index[row], alone.index)
        assert torch.equal(both.mask[row], alone.mask)
