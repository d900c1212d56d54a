"""What a recipe's [environment] section may say: one class per backend, and the sections within it.

`recipe.py` has the other sections and the rules between them.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat

from cartpole_cli.actions import Continuous
from cartpole_cli.recipe.ranges import NumberOrRange, fixed
from cartpole_cli.recipe.sections import Fraction, NonNegativeFloat, Section
from cartpole_cli.tasks import MAX_EPISODE_STEPS, STANDARD, TASKS, Costs, Task, TaskId, sparse_swing_up_reward

NumEnvs = Annotated[int, Field(ge=1, le=65_536)]
MaxEpisodeSteps = Annotated[int, Field(ge=1, le=100_000)]
Hold = Annotated[float, Field(gt=0, le=50)]
Delay = Annotated[int, Field(ge=0, le=50)]
Problem = tuple[str, Any, str]


class PhysicsRecipe(Section):
    """Gravity, masses, lengths, drags, and how late and how long forces act. A number holds for all episodes; from a
    range, [lowest, highest], every episode draws its own value."""

    distribution: Literal["uniform", "log_uniform"] = "uniform"
    """Distribution of the values drawn from ranges. Log-uniform: half a value is as likely as twice it; ranges that
    begin at 0, and delays, stay uniform."""
    change_rate: NonNegativeFloat = 0.0
    """How often an episode draws all values again, 1/s, as if a visitor moved the sliders."""
    gravity: NumberOrRange[NonNegativeFloat] = fixed(STANDARD["gravity"])
    """Gravity, m/s^2."""
    cart_mass: NumberOrRange[PositiveFloat] = fixed(STANDARD["cart_mass"])
    """Mass of the cart, kg."""
    pole_mass: NumberOrRange[PositiveFloat] = fixed(STANDARD["pole_mass"])
    """Mass of the pole, kg."""
    pole_half_length: NumberOrRange[PositiveFloat] = fixed(STANDARD["pole_half_length"])
    """Length from the pivot to the pole's centre, m."""
    force_magnitude: NumberOrRange[PositiveFloat] = fixed(STANDARD["force_magnitude"])
    """Force of a push, and the largest continuous one, N."""
    time_step: NumberOrRange[PositiveFloat] = fixed(STANDARD["time_step"])
    """Length of a step of the physics, s."""
    cart_drag: NumberOrRange[NonNegativeFloat] = fixed(STANDARD["cart_drag"])
    """Drag on the cart, 1/s: each step, x_dot loses the fraction cart_drag * time_step."""
    pole_drag: NumberOrRange[NonNegativeFloat] = fixed(STANDARD["pole_drag"])
    """Drag on the pole, 1/s: each step, theta_dot loses the fraction pole_drag * time_step."""
    hold: NumberOrRange[Hold] = fixed(STANDARD["hold"])
    """Mean number of steps that a decision's force acts: 50 / frames per second if a page decides once a frame."""
    delay: NumberOrRange[Delay] = fixed(STANDARD["delay"])
    """Delay of a force, in decisions; a range draws whole numbers, all equally likely."""
    observation_noise: NumberOrRange[NonNegativeFloat] = fixed(STANDARD["observation_noise"])
    """Standard deviation of the noise added to each of the four observed numbers, in their units."""


class DisturbRecipe(Section):
    """Slow frames, and pushes, which come between an observation and the force that answers it."""

    push_rate: NonNegativeFloat = 0.0
    """How often the cart is pushed, 1/s."""
    push_strength: NumberOrRange[NonNegativeFloat] = fixed(1.0)
    """Strength of a push to a random side; it multiplies push_velocity, push_angle and push_angular_velocity."""
    push_distribution: Literal["uniform", "log_uniform"] = "uniform"
    """Distribution of push_strength. Log-uniform: half a strength is as likely as twice it."""
    pushed_share: Fraction = 1.0
    """Share of episodes that have pushes."""
    push_velocity: NonNegativeFloat = 0.4
    """Velocity that a push of strength 1 adds to x_dot, m/s."""
    push_angle: NonNegativeFloat = 1.5
    """Angle that a push of strength 1 adds to theta, degrees."""
    push_angle_limit: PositiveFloat = 29.7
    """Largest angle to which a push tips the pole, degrees; a pole already beyond it is not tipped."""
    push_lifts: bool = False
    """Whether a push sets a pole beyond push_angle_limit back to that limit on its side of upright, as a page that
    clamps the angle does; this lifts a fallen pole."""
    push_angular_velocity: NonNegativeFloat = 45.0
    """Angular velocity that a push of strength 1 adds to theta_dot, degrees/s."""
    burst_rate: NonNegativeFloat = 0.0
    """How often a burst of pushes to one side begins, 1/s, as when a visitor keeps hitting a key."""
    burst_seconds: NumberOrRange[PositiveFloat] = (0.5, 3.0)
    """How long a burst lasts, s."""
    burst_pushes: PositiveFloat = 8.0
    """Pushes per second within a burst."""
    burst_strength: NonNegativeFloat = 1.0
    """Strength of each push of a burst."""
    hitch_rate: NonNegativeFloat = 0.0
    """How often a slow frame begins, 1/s: the last force acts on, whatever the policy decides meanwhile."""
    hitch_seconds: NumberOrRange[PositiveFloat] = (0.1, 2.0)
    """How long a slow frame takes, s."""


class RewardRecipe(Section):
    """The swing-up's reward, and weights of the costs subtracted from it in each step, whether the pole stands or not.
    F is the step's force, F' the previous step's, and F_max the largest force."""

    kind: Literal["dense", "sparse"] = "dense"
    """Dense: grows with the pole's height. Sparse: 1 while the pole is within 12 degrees of upright and slower than
    1 rad/s, and the cart in the middle fifth of the rail, otherwise 0."""
    effort: NonNegativeFloat = 0.0
    """Weight of the effort: effort * |F| / F_max."""
    change: NonNegativeFloat = 0.0
    """Weight of the change of force: change * |F - F'| / (2 F_max)."""
    distance: NonNegativeFloat = 0.0
    """Weight of the distance from the middle: distance * |x| / position_limit."""


class StartRecipe(Section):
    """Where episodes begin: shares of three kinds, which add up to 1."""

    balance: Fraction = 1.0
    """Share of episodes that begin with all four numbers within +-0.05 of an upright pole at rest."""
    hanging: Fraction = 0.0
    """Share of episodes that begin within +-0.05 of a hanging pole at rest."""
    anywhere: Fraction = 0.0
    """Share of episodes that begin at any angle, and within position, velocity and angular_velocity."""
    position: NonNegativeFloat = 3.0
    """Largest distance from the middle for episodes that begin anywhere, m."""
    velocity: NonNegativeFloat = 3.0
    """Largest speed of the cart for episodes that begin anywhere, m/s."""
    angular_velocity: NonNegativeFloat = 8.0
    """Largest angular speed of the pole for episodes that begin anywhere, rad/s."""


class NativeEnvironment(Section):
    """Our own batched cart-pole, on the training device."""

    backend: Literal["native"] = "native"
    id: TaskId = "CartPole-v1"
    """The task: balance or swing up, with pushes of +-10 N or any force in between (Continuous...)."""
    num_envs: NumEnvs = 16
    """Environments per seed; also the episodes per iteration, except with PPO."""
    max_episode_steps: MaxEpisodeSteps = MAX_EPISODE_STEPS
    """Time limit of an episode, in decisions; a decision lasts a step of 0.02 s, or several with physics.hold."""
    position_limit: PositiveFloat | None = None
    """Distance from the middle beyond which an episode fails, m; unset: the task's, 2.4 to balance, 5 to swing up."""
    angle_limit: PositiveFloat | None = None
    """Angle beyond which an episode fails, degrees; unset: the task's, 12 to balance, none to swing up."""
    physics: PhysicsRecipe | None = None
    """The physics; unset: as in Gymnasium."""
    disturb: DisturbRecipe | None = None
    """Disturbances of episodes; unset: none."""
    reward: RewardRecipe | None = None
    """The reward of swing-up; unset: dense, without costs."""
    start: StartRecipe | None = None
    """Where episodes begin; unset: as in Gymnasium, the pole upright, or hanging in swing-up."""

    @property
    def task(self) -> Task:
        """The task's row, with this recipe's limits and force."""
        row = TASKS[self.id]
        force = (self.physics or PhysicsRecipe()).force_magnitude[1]
        return replace(
            row,
            actions=Continuous((-force,), (force,)) if isinstance(row.actions, Continuous) else row.actions,
            position_limit=self.position_limit or row.position_limit,
            angle_limit=math.radians(self.angle_limit) if self.angle_limit else row.angle_limit,
            reward=sparse_swing_up_reward if self.reward and self.reward.kind == "sparse" else row.reward,
            costs=Costs(**self.reward.model_dump(exclude={"kind"})) if self.reward else row.costs,
        )

    @property
    def is_cart_pole(self) -> bool:
        """Whether x, x_dot, theta and theta_dot are observed."""
        return True

    @property
    def counts_steps(self) -> bool:
        """Whether the return is the number of steps survived."""
        return self.task.counts_steps

    @property
    def is_gymnasiums(self) -> bool:
        """Whether Gymnasium has just this task."""
        changed = (self.position_limit, self.angle_limit, self.physics, self.disturb, self.reward, self.start)
        return self.counts_steps and changed == (None,) * len(changed)

    def problems(self) -> Iterator[Problem]:
        """(dotted key, given, what is allowed) where fields do not fit one another."""
        start = self.start
        if start is not None and abs(start.balance + start.hanging + start.anywhere - 1) > 1e-6:
            shares = (start.balance, start.hanging, start.anywhere)
            yield "environment.start", shares, "allowed: shares (balance, hanging, anywhere) that add up to 1"
        if self.reward is not None and self.counts_steps:
            reason = f"the reward of environment.id = {self.id!r} is 1 for every step; allowed: nothing, or a swing-up"
            yield "environment.reward", self.reward.model_dump(exclude_defaults=True), reason


class GymnasiumEnvironment(Section):
    """Any Gymnasium environment with Box observations and Discrete or bounded one-dimensional Box actions."""

    backend: Literal["gymnasium"]
    id: Annotated[str, Field(min_length=1)] = "CartPole-v1"
    """The environment's Gymnasium id, with "module:" before it if a module registers it."""
    num_envs: NumEnvs = 16
    """Environments per seed; also the episodes per iteration, except with PPO."""
    vectorization_mode: Literal["sync", "async", "vector_entry_point"] = "sync"
    """One process (sync), one per environment (async), or the environment's own vector implementation."""
    max_episode_steps: MaxEpisodeSteps | None = None
    """Time limit of an episode in steps; unset: the environment's own."""

    @property
    def task(self) -> Task | None:
        """The row of a cart-pole's task."""
        name = self.id.rpartition(":")[2]
        return next((task for task in TASKS.values() if task.gymnasium_id == name), None)

    @property
    def is_cart_pole(self) -> bool:
        """Whether x, x_dot, theta and theta_dot are observed."""
        return self.task is not None

    @property
    def counts_steps(self) -> bool:
        """Whether the return is the number of steps survived."""
        return self.task is not None and self.task.counts_steps
