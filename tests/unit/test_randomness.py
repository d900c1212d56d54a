"""Named streams of fixed-shape blocks."""

import itertools

import pytest
import torch

from cartpole_cli.randomness import Streams, derive, uniform_of

pytestmark = pytest.mark.shapes

SHAPE = (20, 3)


def test_the_same_key_draws_the_same_block():
    first, second = (Streams((1, 2)) for _ in range(2))
    assert torch.equal(first.uniform("actions", 4, 2, shape=SHAPE), second.uniform("actions", 4, 2, shape=SHAPE))
    assert torch.equal(first.normal("actions", 4, 2, shape=SHAPE), second.normal("actions", 4, 2, shape=SHAPE))


def test_what_was_drawn_before_does_not_matter():
    fresh, used = Streams((1,)), Streams((1,))
    used.uniform("actions", 0, shape=(7,))
    torch.rand(5)
    assert torch.equal(fresh.uniform("actions", 1, shape=SHAPE), used.uniform("actions", 1, shape=SHAPE))


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    Streams((1,)).normal("actions", 0, shape=SHAPE)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_name_stream_or_counter_draws_another_block():
    blocks = [
        Streams((1,)).uniform("actions", 0, shape=SHAPE),
        Streams((2,)).uniform("actions", 0, shape=SHAPE),
        Streams((1,), name="elsewhere").uniform("actions", 0, shape=SHAPE),
        Streams((1,)).named("actions").uniform("actions", 0, shape=SHAPE),
        Streams((1,)).uniform("minibatches", 0, shape=SHAPE),
        Streams((1,)).uniform("actions", 1, shape=SHAPE),
        Streams((1,)).uniform("actions", 0, 0, shape=SHAPE),
        Streams((1,)).uniform("actions", shape=SHAPE),
    ]
    for first, second in itertools.combinations(blocks, 2):
        assert not torch.equal(first, second)


def test_counters_are_not_run_together():
    streams = Streams((1,))
    assert streams.integer(0, "actions", 1, 11) != streams.integer(0, "actions", 11, 1)
    assert streams.integer(0, "actions", 1, 11) != streams.integer(0, "actions", 111)
    assert streams.integer(0, "actions", 1, 1) != streams.integer(0, "actions", 11)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (20, 3)])
def test_a_block_has_the_shape_asked_for_per_seed(shape: tuple[int, ...]):
    streams = Streams((1, 2, 3))
    assert streams.uniform("actions", 0, shape=shape).shape == (3, *shape)
    assert streams.normal("actions", 0, shape=shape).shape == (3, *shape)


def test_a_seeds_block_is_the_one_it_draws_alone():
    together = Streams((5, 6, 7))
    for index, seed in enumerate((5, 6, 7)):
        alone = Streams((seed,))
        for counter in range(3):
            assert torch.equal(
                together.uniform("actions", counter, shape=SHAPE)[index],
                alone.uniform("actions", counter, shape=SHAPE)[0],
            )
            assert torch.equal(
                together.normal("actions", counter, shape=SHAPE)[index],
                alone.normal("actions", counter, shape=SHAPE)[0],
            )
        assert together.integer(index, "actions", 4) == alone.integer(0, "actions", 4)


def test_named_streams_keep_the_seeds_and_share_no_number():
    streams = Streams((1, 2))
    named, twice = streams.named("evaluation"), streams.named("evaluation").named("final")
    assert named.seeds == twice.seeds == (1, 2)
    blocks = [drawn.uniform("reset", 0, shape=(100,)) for drawn in (streams, named, twice)]
    for first, second in itertools.combinations(blocks, 2):
        # two seeds: by chance 200 * 200 / 2^24 equal numbers, 0.002
        assert torch.isin(first, second).sum() == 0


def test_every_bit_of_a_key_matters(monkeypatch: pytest.MonkeyPatch):
    """torch's own CPU generator would ignore all but 32 of them."""
    keys = iter(1 << bit for bit in (0, 31, 32, 63, 64, 127))
    monkeypatch.setattr(Streams, "_key", lambda *_: next(keys))
    blocks = [Streams((0,)).uniform("actions", shape=SHAPE) for _ in range(6)]
    assert len({block.numpy().tobytes() for block in blocks}) == 6


def test_uniform_numbers_fill_the_unit_interval():
    numbers = Streams((0,)).uniform("actions", 0, shape=(10_000,))
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    assert abs(numbers.mean().item() - 0.5) < 5 * (1 / 12 / 10_000) ** 0.5


def test_normal_numbers_have_mean_zero_and_deviation_one():
    numbers = Streams((0,)).normal("actions", 0, shape=(10_000,))
    assert abs(numbers.mean().item()) < 0.05
    assert abs(numbers.std().item() - 1) < 0.036


def test_integers_never_change():
    """Published runs can be repeated only as long as these stay what they are."""
    assert Streams((0,)).integer(0, "actions", 0) == 10182182069815446887
    assert Streams((3, 7)).integer(1, "actions", 3, 1) == 6879980567867801202


def test_derived_keys_are_splitmix64():
    keys = derive(torch.tensor(1234567), torch.arange(1, 6))
    expected = [  # the reference implementation's first numbers from this seed (Vigna, splitmix64.c)
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [key % 2**64 for key in keys.tolist()] == expected


def test_uniform_numbers_of_keys_fill_the_unit_interval_and_are_uncorrelated():
    keys = derive(Streams((1, 2)).keys("episodes").unsqueeze(1), torch.arange(10_000))
    numbers = uniform_of(keys, 3)
    assert numbers.shape == (3, 2, 10_000)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    rows = torch.cat([numbers.flatten(0, 1), numbers.flatten(0, 1).roll(1, dims=1)])
    assert (rows.mean(dim=1) - 0.5).abs().max() < 0.015
    assert (rows.corrcoef() - torch.eye(12)).abs().max() < 0.05
    counts = torch.histc(numbers, bins=100)
    assert (counts / 600 - 1).abs().max() < 0.2


def test_the_uniform_numbers_of_a_key_do_not_depend_on_the_keys_beside_it_or_on_how_many_are_drawn():
    keys = derive(torch.tensor(3), torch.arange(50))
    assert torch.equal(uniform_of(keys, 4)[:2, 7], uniform_of(keys[7], 2))
