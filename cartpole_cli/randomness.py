"""One seed, many independent named streams.

Every random number of a run comes from a block of fixed shape, drawn by a generator that is keyed by
(seed, stream name, counters). Nothing is carried from one block to the next, so no seed's numbers depend on
another seed, resuming stores counters instead of generator states, and the names keep training, evaluation
and initialization apart. Blocks are drawn on the CPU: every device sees the same numbers.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor


class Streams:
    """The random streams of S seeds.

    Args:
        seeds: one non-negative integer per seed.
        device: where drawn blocks are placed.
        name: prefix of all streams drawn here; see `named`.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", *, name: str = "cartpole") -> None:
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self.name = name

    def named(self, name: str) -> "Streams":
        """Streams of the same seeds that share no number with these."""
        return Streams(self.seeds, self.device, name=f"{self.name}/{name}")

    def integer(self, index: int, stream: str, *counters: int) -> int:
        """A 64-bit integer for seed number `index`: the key of a block, or a seed for someone else's generator."""
        key = f"{self.seeds[index]}:{self.name}/{stream}:{','.join(map(str, counters))}"
        return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")

    def uniform(self, stream: str, *counters: int, shape: Sequence[int]) -> Float[Tensor, "S *block"]:
        """Uniform numbers in [0, 1), shape [S, *shape]."""
        return self._block(torch.rand, stream, counters, shape)

    def normal(self, stream: str, *counters: int, shape: Sequence[int]) -> Float[Tensor, "S *block"]:
        """Standard normal numbers, shape [S, *shape]."""
        return self._block(torch.randn, stream, counters, shape)

    def _block(
        self,
        draw: Callable[..., Tensor],
        stream: str,
        counters: Sequence[int],
        shape: Sequence[int],
    ) -> Tensor:
        blocks = []
        for index in range(len(self.seeds)):
            generator = torch.Generator().manual_seed(self.integer(index, stream, *counters))
            blocks.append(draw(tuple(shape), generator=generator))
        return torch.stack(blocks).to(self.device)
