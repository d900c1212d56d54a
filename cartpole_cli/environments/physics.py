"""The cart-pole's equations of motion.

Barto, Sutton and Anderson (1983), in the form of Florian (2007), "Correct equations for the dynamics of the
cart-pole system", eq. 23-24 without friction; integrated by explicit Euler steps as Gymnasium's CartPole does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

REST = 1e-4


@dataclass(frozen=True)
class Physics:
    """What a cart-pole is made of, in SI units, one value per environment.

    gravity m/s^2; cart_mass, pole_mass kg; pole_half_length m (pivot to the pole's centre);
    force_magnitude N; time_step s; cart_drag, pole_drag 1/s (see `drag`).
    """

    gravity: Float[Tensor, "*environments"]
    cart_mass: Float[Tensor, "*environments"]
    pole_mass: Float[Tensor, "*environments"]
    pole_half_length: Float[Tensor, "*environments"]
    force_magnitude: Float[Tensor, "*environments"]
    time_step: Float[Tensor, "*environments"]
    cart_drag: Float[Tensor, "*environments"]
    pole_drag: Float[Tensor, "*environments"]

    @classmethod
    def constant(
        cls,
        values: Mapping[str, float],
        *shape: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Physics":
        """The same values in every environment of the given shape."""
        return cls(**{name: torch.full(shape, value, device=device, dtype=dtype) for name, value in values.items()})

    def select(self, environments: Int[Tensor, "N"]) -> "Physics":
        """The physics of the given environments, along the last axis."""
        return Physics(**{field.name: getattr(self, field.name)[..., environments] for field in fields(self)})

    def select_seeds(self, seeds: list[int]) -> "Physics":
        """The physics of the given seeds, along the first axis."""
        return Physics(**{field.name: getattr(self, field.name)[seeds] for field in fields(self)})

    @cached_property
    def force_to_the_left(self) -> Float[Tensor, "*environments"]:
        """The largest of them, N."""
        return -self.force_magnitude

    @cached_property
    def force_range(self) -> Float[Tensor, "*environments"]:
        """From the largest force to the left to the largest to the right, N."""
        return self.force_magnitude + self.force_magnitude

    @cached_property
    def inverse_mass(self) -> Float[Tensor, "*environments"]:
        """Of cart and pole together, 1/kg."""
        return (self.cart_mass + self.pole_mass).reciprocal()

    @cached_property
    def lever(self) -> Float[Tensor, "*environments"]:
        """Pole mass times half length over the total mass, m."""
        return self.pole_mass * self.pole_half_length * self.inverse_mass

    @cached_property
    def inertia(self) -> tuple[Float[Tensor, "*environments"], Float[Tensor, "*environments"]]:
        """c0, c1 of the length c0 - c1 cos^2 theta that turns the pole's torque per mass into its acceleration, m."""
        return self.pole_half_length * (4.0 / 3.0), self.lever

    @cached_property
    def slowing(self) -> tuple[Float[Tensor, "2 *environments"], Float[Tensor, "2 *environments"]]:
        """What drag leaves of x_dot and theta_dot in a time step, and below what they come to rest."""
        drags = torch.stack([self.cart_drag, self.pole_drag])
        return 1 - drags * self.time_step, drags.sign() * REST


def cart_pole_step(
    state: Float[Tensor, "4 *environments"], force: Float[Tensor, "*environments"], physics: Physics
) -> Float[Tensor, "4 *environments"]:
    """The state one time step later.

    Args:
        state: x (m), x_dot (m/s), theta (rad, 0 is upright), theta_dot (rad/s).
        force: on the cart, newtons, positive to the right.
        physics: of the environments.
    """
    _, x_dot, theta, theta_dot = state.unbind()
    sin, cos = theta.sin(), theta.cos()
    push = torch.addcmul(force * physics.inverse_mass, theta_dot * theta_dot * sin, physics.lever)
    torque = torch.addcmul(physics.gravity * sin, cos, push, value=-1)
    constant, varying = physics.inertia
    theta_acceleration = torque / torch.addcmul(constant, cos * cos, varying, value=-1)
    x_acceleration = torch.addcmul(push, theta_acceleration * cos, physics.lever, value=-1)
    derivative = torch.stack([x_dot, x_acceleration, theta_dot, theta_acceleration])
    return torch.addcmul(state, derivative, physics.time_step)


def drag_(state: Float[Tensor, "4 *environments"], physics: Physics) -> Float[Tensor, "4 *environments"]:
    """What is left of the velocities after one time step: x_dot (1 - cart_drag dt) and theta_dot (1 - pole_drag dt).

    Those below 0.0001 (m/s, rad/s) come to rest, where there is any drag. In the memory of `state`.
    """
    kept, rest = physics.slowing
    velocities = state[1::2].mul_(kept)
    velocities.masked_fill_(velocities.abs() < rest, 0.0)
    return state
