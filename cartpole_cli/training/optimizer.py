"""Adam over the stacked parameters of S seeds, with per-seed schedule, clipping and freezing.

Our own because constructing any `torch.optim` optimizer imports for about a second, and because a seed that has
stopped must not move: in `torch.optim` a zero gradient still moves it by momentum.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

ALIGNMENT = 16


class Adam:
    """Kingma and Ba (2015), algorithm 1, after clipping each seed's gradient to a global norm.

    All parameters become views of one matrix [S, P], so a step is a dozen operations however many layers there
    are. A seed whose `active` is False keeps parameters, both moments and its step count untouched.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        max_grad_norm: Float[Tensor, "S"],
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-5,
    ) -> None:
        self._parameters = list(parameters)
        self.max_grad_norm, self.epsilon = max_grad_norm, epsilon
        self._bind()
        self._betas = self.flat.new_tensor(betas).unsqueeze(1)
        self._shares = self.flat.new_tensor([1 - beta for beta in betas]).unsqueeze(1)
        self.first_moment = torch.zeros_like(self.flat)
        self.second_moment = torch.zeros_like(self.flat)
        # beta^t per seed, kept as a running product: torch's pow has other bits in a vector than alone.
        self.beta_powers: Float[Tensor, "2 S"] = self.flat.new_ones(2, self.flat.shape[0])

    def _bind(self) -> None:
        """Make the parameters views of one matrix, and their gradients of another."""
        self.flat: Float[Tensor, "S P"] = _matrix_for(self._parameters)
        for parameter, view in zip(self._parameters, _views(self.flat, self._parameters), strict=True):
            view.copy_(parameter.data)
            parameter.data = view
        self._gradient = torch.zeros_like(self.flat)
        self._gradient_views = _views(self._gradient, self._parameters)

    def keep_seeds(self, indices: Sequence[int]) -> None:
        """Go on with some of the seeds, by their places among these, after their parameters have."""
        self._bind()
        places = list(indices)
        self.first_moment, self.second_moment = self.first_moment[places], self.second_moment[places]
        self.beta_powers, self.max_grad_norm = self.beta_powers[:, places], self.max_grad_norm[places]

    def accumulate(self, total: Float[Tensor, "S"]) -> None:
        """Add the gradient of each seed's loss to what the next step uses."""
        gradients = torch.autograd.grad(total.sum(), self._parameters, materialize_grads=True)
        for view, gradient in zip(self._gradient_views, gradients, strict=True):
            view.add_(gradient)

    def step(self, active: Bool[Tensor, "S"], learning_rate: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
        """Move the active seeds; the norm of each seed's gradient before clipping.

        A seed whose gradient is not finite does not move either, and its norm says so.
        """
        norm = self._gradient.square().sum(dim=1).sqrt()
        active = active & norm.isfinite()
        # As torch divides a number by a tensor.
        scale = (self.max_grad_norm * (norm + 1e-6).reciprocal()).clamp(max=1.0)
        gradient = torch.where(active.unsqueeze(1), self._gradient * scale.unsqueeze(1), 0.0)
        share = self._shares * active  # of the new gradient in each moment: none of a seed that stays
        self.first_moment.lerp_(gradient, share[0].unsqueeze(1))
        self.second_moment.lerp_(gradient.square_(), share[1].unsqueeze(1))
        self.beta_powers = torch.where(active, self.beta_powers * self._betas, self.beta_powers)
        correction1, correction2 = (1 - self.beta_powers).clamp(min=1e-12).unsqueeze(2)
        denominator = (self.second_moment / correction2).sqrt_().add_(self.epsilon)
        rate = (learning_rate * active).unsqueeze(1) / correction1
        self.flat -= (rate * self.first_moment).div_(denominator)
        self._gradient.zero_()
        return norm

    def state_dict(self) -> dict[str, Any]:
        return {
            "first_moment": self.first_moment,
            "second_moment": self.second_moment,
            "beta_powers": self.beta_powers.mT,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first_moment.copy_(state["first_moment"])
        self.second_moment.copy_(state["second_moment"])
        self.beta_powers.copy_(state["beta_powers"].mT)


def _matrix_for(parameters: Sequence[nn.Parameter]) -> Float[Tensor, "S P"]:
    """Zeros with a place for every parameter of a seed, each beginning where a vector register does."""
    width = sum(_place(parameter) for parameter in parameters)
    return parameters[0].new_zeros(parameters[0].shape[0], width).detach()


def _views(matrix: Float[Tensor, "S P"], parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    places = torch.split(matrix, [_place(parameter) for parameter in parameters], dim=1)
    return [
        place[:, : parameter[0].numel()].view(parameter.shape)
        for place, parameter in zip(places, parameters, strict=True)
    ]


def _place(parameter: nn.Parameter) -> int:
    """Numbers to keep free for one seed's share: rounded up, as matrix products have other bits when unaligned."""
    return -(-parameter[0].numel() // ALIGNMENT) * ALIGNMENT
