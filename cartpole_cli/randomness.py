"""One seed, many independent named streams.

Every random number of a run comes from a block of fixed shape, drawn by a generator that is keyed by
(seed, stream name, counters). Nothing is carried from one block to the next, so no seed's numbers depend on
another seed, resuming stores counters instead of generator states, and the names keep training, evaluation
and initialization apart. Blocks are drawn on the CPU: every device sees the same numbers.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
MIX_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


class Streams:
    """The random streams of S seeds; equal ones share their numbers, which are drawn once.

    Args:
        seeds: one non-negative integer per seed.
        device: where drawn blocks are placed.
        name: prefix of all streams drawn here; see `named`.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", *, name: str = "cartpole") -> None:
        self.seeds = tuple(seeds)
        self._distinct = tuple(dict.fromkeys(seeds))
        self._places = None
        if len(self._distinct) < len(self.seeds):
            self._places = torch.tensor([self._distinct.index(seed) for seed in seeds], device=device)
        self.device = torch.device(device)
        self.name = name

    def named(self, name: str) -> "Streams":
        """Streams of the same seeds that share no number with these."""
        return Streams(self.seeds, self.device, name=f"{self.name}/{name}")

    def select(self, indices: Sequence[int]) -> "Streams":
        """The streams of some of the seeds, by their places among these."""
        return Streams([self.seeds[index] for index in indices], self.device, name=self.name)

    def integer(self, index: int, stream: str, *counters: int) -> int:
        """A 64-bit integer for seed number `index`: a seed for someone else's generator."""
        return self._key(self.seeds[index], stream, counters) % 2**64

    def keys(self, stream: str, *counters: int) -> Int[Tensor, "S"]:
        """A key for `derive` and `uniform_of` per seed."""
        keys = [self._key(seed, stream, counters) % 2**64 - 2**63 for seed in self._distinct]
        return self._of_each(torch.tensor(keys, dtype=torch.int64))

    def uniform(self, stream: str, *counters: int, shape: Sequence[int]) -> Float[Tensor, "S *block"]:
        """Uniform numbers in [0, 1), shape [S, *shape]."""
        draws = [generator.random(tuple(shape), np.float32) for generator in self._generators(stream, counters)]
        return self._of_each(torch.from_numpy(np.stack(draws)))

    def normal(self, stream: str, *counters: int, shape: Sequence[int]) -> Float[Tensor, "S *block"]:
        """Standard normal numbers, shape [S, *shape]."""
        draws = [
            generator.standard_normal(tuple(shape), np.float32) for generator in self._generators(stream, counters)
        ]
        return self._of_each(torch.from_numpy(np.stack(draws)))

    def _of_each(self, of_distinct: Shaped[Tensor, "_ *block"]) -> Shaped[Tensor, "S *block"]:
        """What was drawn once for each distinct seed, for all of them."""
        there = of_distinct.to(self.device)
        return there if self._places is None else there[self._places]

    def _generators(self, stream: str, counters: Sequence[int]) -> list[np.random.Generator]:
        keys = [self._key(seed, stream, counters) for seed in self._distinct]
        return [np.random.Generator(np.random.Philox(key=key)) for key in keys]

    def _key(self, seed: int, stream: str, counters: Sequence[int]) -> int:
        """Philox takes 128 bits as its key; torch's own CPU generator would use 32 of them, and keys collide."""
        name = f"{seed}:{self.name}/{stream}:{','.join(map(str, counters))}"
        return int.from_bytes(blake2b(name.encode(), digest_size=16).digest(), "big")


def derive(key: Int[Tensor, "*#keys"], counter: Int[Tensor, "*#keys"] | int) -> Int[Tensor, "..."]:
    """A key of its own for each counter.

    SplitMix64 (Steele, Lea and Flood 2014) at place `counter` of the sequence that begins at `key`. All of it is
    integer arithmetic element by element: the same numbers on every device, wherever an element stands.
    """
    state = _multiplied(key, counter)
    state ^= _shifted(state, 31)
    return state


def uniform_of(key: Int[Tensor, "*keys"], count: int) -> Float[Tensor, "{count} *keys"]:
    """`count` uniform numbers in [0, 1) for each key: the upper 24 bits of what is derived."""
    places = torch.arange(1, count + 1, device=key.device).view(-1, *[1] * key.dim())
    bits = _shifted(_multiplied(key, places), 40)  # the last shift of `derive` leaves these bits alone
    return bits.to(torch.float32).mul_(2.0**-24)


def _multiplied(key: Int[Tensor, "*#keys"], counter: Int[Tensor, "*#keys"] | int) -> Int[Tensor, "..."]:
    """SplitMix64 up to its last shift."""
    state: Tensor = torch.add(key, counter, alpha=GOLDEN_GAMMA)
    for shift, factor in zip((30, 27), MIX_FACTORS, strict=True):
        state ^= _shifted(state, shift)
        state *= factor
    return state


def _shifted(state: Int[Tensor, "*keys"], shift: int) -> Int[Tensor, "*keys"]:
    """To the right, with zeros coming in."""
    return (state >> shift).bitwise_and_(2 ** (64 - shift) - 1)
