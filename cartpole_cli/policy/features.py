"""What a network sees of a cart-pole's observation: x (m), x_dot (m/s), theta (rad), theta_dot (rad/s)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ScaledFeatures(nn.Module):
    """Theta in tenths of a radian: of a size with the other numbers while the pole is balanced."""

    num_features = 4
    scale: Tensor

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([1.0, 1.0, 10.0, 1.0], device=device), persistent=False)

    def forward(self, observation: Float[Tensor, "S B 4"]) -> Float[Tensor, "S B 4"]:
        return observation * self.scale


class TrigFeatures(nn.Module):
    """x / 2.5, x_dot / 2, theta_dot / 3, sin theta, cos theta: the same after any number of turns."""

    num_features = 5
    scale: Tensor

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([1 / 2.5, 1 / 2, 1 / 3], device=device), persistent=False)

    def forward(self, observation: Float[Tensor, "S B 4"]) -> Float[Tensor, "S B 5"]:
        x, x_dot, theta, theta_dot = observation.unbind(dim=-1)
        linear = torch.stack([x, x_dot, theta_dot], dim=-1) * self.scale
        return torch.cat([linear, torch.stack([theta.sin(), theta.cos()], dim=-1)], dim=-1)


class FineFeatures(nn.Module):
    """Those of `TrigFeatures`, and tanh of x, x_dot, theta_dot 2 / 3 and 4 sin theta.

    A continuous force has to answer hundredths of a radian with newtons, and a radian with no more than ten of them: of
    the plain features alone a network learns that steepness very slowly.
    """

    num_features = 9
    magnification: Tensor

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.trig = TrigFeatures(device)
        self.register_buffer("magnification", torch.tensor([2.5, 2.0, 2.0, 4.0], device=device), persistent=False)

    def forward(self, observation: Float[Tensor, "S B 4"]) -> Float[Tensor, "S B 9"]:
        trig = self.trig.forward(observation)
        return torch.cat([trig, (trig[..., :4] * self.magnification).tanh()], dim=-1)


Features = ScaledFeatures | TrigFeatures | FineFeatures
FEATURES: dict[str, type[Features]] = {"scaled": ScaledFeatures, "trig": TrigFeatures, "fine": FineFeatures}


def build_features(name: Literal["scaled", "trig", "fine"], device: torch.device) -> Features:
    """The layer of that name."""
    return FEATURES[name](device)
