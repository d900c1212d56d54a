"""What a recipe's [environment] section may say: one class per backend, and the sections within it.

`recipe.py` has the other sections and the rules between them.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveFloat

from cartpole_cli.recipe.sections import Fraction, NonNegativeFloat, Section

NumEnvs = Annotated[int, Field(ge=1, le=65_536)]
Hold = Annotated[float, Field(gt=0, le=50)]
Delay = Annotated[int, Field(ge=0, le=50)]
Problem = tuple[str, Any, str]
Task = Literal["CartPole-v1", "ContinuousCartPole-v1", "CartPoleSwingUp-v1", "ContinuousCartPoleSwingUp-v1"]
TASKS = get_args(Task)
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], Field(strict=False)]
NonNegativeRange = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], Field(strict=False)]
HoldRange = Annotated[tuple[Hold, Hold], Field(strict=False)]
DelayRange = Annotated[tuple[Delay, Delay], Field(strict=False)]


class PhysicsRecipe(Section):
    """What every cart-pole is made of, and how late and how long forces act on it."""

    gravity: NonNegativeFloat = 9.8
    """m/s^2."""
    cart_mass: PositiveFloat = 1.0
    """kg."""
    pole_mass: PositiveFloat = 0.1
    """kg."""
    pole_half_length: PositiveFloat = 0.5
    """m, from the pivot to the pole's centre."""
    force_magnitude: PositiveFloat = 10.0
    """N."""
    time_step: PositiveFloat = 0.02
    """s."""
    cart_drag: NonNegativeFloat = 0.0
    """1/s: x_dot loses cart_drag * time_step of itself after each step."""
    pole_drag: NonNegativeFloat = 0.0
    """1/s: the same for theta_dot."""
    hold: Hold = 1.0
    """Steps that one decision's force acts, on average: 50 / frames per second for a page that decides once a frame."""
    delay: Delay = 0
    """Decisions that a force comes late."""
    observation_noise: NonNegativeFloat = 0.0
    """Standard deviation of what is added to each of the four numbers observed, in their units."""


class RandomizeRecipe(Section):
    """Ranges, [lowest, highest], that each episode draws its own values from; unset: as [environment.physics] says."""

    distribution: Literal["uniform", "log_uniform"] = "uniform"
    """Log-uniform: halves are as likely as doubles; for ranges that do not begin at 0, which stay uniform."""
    change_rate: NonNegativeFloat = 0.0
    """1/s: how often all values are drawn anew in the middle of an episode, as if sliders were moved."""
    gravity: NonNegativeRange | None = None
    """m/s^2."""
    cart_mass: PositiveRange | None = None
    """kg."""
    pole_mass: PositiveRange | None = None
    """kg."""
    pole_half_length: PositiveRange | None = None
    """m."""
    force_magnitude: PositiveRange | None = None
    """N."""
    time_step: PositiveRange | None = None
    """s."""
    cart_drag: NonNegativeRange | None = None
    """1/s."""
    pole_drag: NonNegativeRange | None = None
    """1/s."""
    hold: HoldRange | None = None
    """Steps per decision."""
    delay: DelayRange | None = None
    """Decisions; whole numbers, all as likely."""
    observation_noise: NonNegativeRange | None = None
    """Standard deviations."""


class DisturbRecipe(Section):
    """Pushes, which come between an observation and the force that answers it."""

    push_rate: NonNegativeFloat = 0.0
    """1/s."""
    push_strength: NonNegativeRange = (1.0, 1.0)
    """Lowest and highest, in multiples of the following; to either side."""
    push_velocity: NonNegativeFloat = 0.4
    """m/s, added to x_dot."""
    push_angle: NonNegativeFloat = 1.5
    """Degrees, added to theta."""
    push_angle_limit: PositiveFloat = 29.7
    """Degrees: the angle does not tip the pole beyond this, nor one that is beyond."""
    push_angular_velocity: NonNegativeFloat = 45.0
    """Degrees/s, added to theta_dot."""


class StartRecipe(Section):
    """Where episodes begin: shares of three kinds, which add up to 1."""

    balance: Fraction = 1.0
    """All four numbers within +-0.05 of an upright pole at rest."""
    hanging: Fraction = 0.0
    """The same around a hanging pole."""
    anywhere: Fraction = 0.0
    """Any angle, and the others within the following."""
    position: NonNegativeFloat = 3.0
    """m, to either side."""
    velocity: NonNegativeFloat = 3.0
    """m/s."""
    angular_velocity: NonNegativeFloat = 8.0
    """rad/s."""


class NativeEnvironment(Section):
    """Our own batched cart-pole, on the training device."""

    backend: Literal["native"] = "native"
    id: Task = "CartPole-v1"
    """The task: to balance or to swing up; by pushes of +-10 N, or any force in between (Continuous...)."""
    num_envs: NumEnvs = 16
    """Environments per seed; for all algorithms but PPO also the episodes per iteration."""
    max_episode_steps: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Time limit of an episode, in decisions: steps of 0.02 s, unless one is held for several."""
    position_limit: PositiveFloat | None = None
    """m: an episode fails beyond; unset: the task's own, 2.4 to balance, 5 to swing up."""
    angle_limit: PositiveFloat | None = None
    """Degrees: the same for the pole; unset: 12 to balance, none to swing up."""
    physics: PhysicsRecipe | None = None
    """What cart-poles are made of, where it is not Gymnasium's."""
    randomize: RandomizeRecipe | None = None
    """What differs between episodes."""
    disturb: DisturbRecipe | None = None
    """What happens to them."""
    start: StartRecipe | None = None
    """Where they begin; unset: as Gymnasium's do, the pole upright, or hanging in swing-up."""

    @property
    def is_cart_pole(self) -> bool:
        """Whether x, x_dot, theta and theta_dot are observed."""
        return True

    @property
    def counts_steps(self) -> bool:
        """Whether the return is the number of steps survived."""
        return not self.is_swing_up

    @property
    def is_continuous(self) -> bool:
        return self.id.startswith("Continuous")

    @property
    def is_swing_up(self) -> bool:
        return "SwingUp" in self.id

    @property
    def is_gymnasiums(self) -> bool:
        """Whether Gymnasium has just this task."""
        changed = (self.position_limit, self.angle_limit, self.physics, self.randomize, self.disturb, self.start)
        return not self.is_swing_up and changed == (None,) * len(changed)

    def problems(self) -> Iterator[Problem]:
        """(dotted key, given, what is allowed) where fields do not fit one another."""
        for section in ("randomize", "disturb"):
            for name, value in getattr(self, section) or ():
                if isinstance(value, tuple) and value[0] > value[1]:
                    yield f"environment.{section}.{name}", list(value), "allowed: [lowest, highest]"
        start = self.start
        if start is not None and abs(start.balance + start.hanging + start.anywhere - 1) > 1e-6:
            shares = (start.balance, start.hanging, start.anywhere)
            yield "environment.start", shares, "allowed: shares (balance, hanging, anywhere) that add up to 1"


class GymnasiumEnvironment(Section):
    """Any Gymnasium environment with Box observations and Discrete or bounded one-dimensional Box actions."""

    backend: Literal["gymnasium"]
    id: Annotated[str, Field(min_length=1)] = "CartPole-v1"
    """The environment's Gymnasium id, with "module:" before it where a module registers it."""
    num_envs: NumEnvs = 16
    """Environments per seed; for all algorithms but PPO also the episodes per iteration."""
    vectorization_mode: Literal["sync", "async", "vector_entry_point"] = "sync"
    """One process, a process per environment, or the environment's own vector implementation."""
    max_episode_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Time limit of an episode in steps; unset: the environment's own."""

    @property
    def is_cart_pole(self) -> bool:
        """Whether x, x_dot, theta and theta_dot are observed."""
        return self._task in TASKS

    @property
    def is_swing_up(self) -> bool:
        return self.is_cart_pole and "SwingUp" in self._task

    @property
    def counts_steps(self) -> bool:
        """Whether the return is the number of steps survived."""
        return self.is_cart_pole and not self.is_swing_up

    @property
    def _task(self) -> str:
        return self.id.rpartition(":")[2].removeprefix("cartpole_cli/")
