"""What a recipe's [algorithm] section may say: one class per algorithm.

`recipe.py` has the other sections and the rules between them.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from cartpole_cli.recipe.sections import Fraction, NonNegativeFloat, Section

NumEpochs = Annotated[int, Field(ge=1, le=1_000)]
GroupSize = Annotated[int, Field(ge=2, le=65_536)]


class ReinforceRecipe(Section):
    """REINFORCE: one step per batch of `environment.num_envs` whole episodes."""

    name: Literal["reinforce"] = "reinforce"
    gamma: Fraction = 0.99
    """Discount factor."""
    baseline: Literal["none", "batch", "leave_one_out", "value"] = "value"
    """What is subtracted from the return: nothing, the batch's mean return, the mean return of the other episodes
    at the same time step, or a learned value function."""
    normalize_advantage: bool = True
    """Scale the batch's advantages to mean 0 and standard deviation 1."""
    value_coefficient: NonNegativeFloat = 0.5
    """Weight of the value loss (baseline = "value")."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Weight of the entropy bonus."""


class PPORecipe(Section):
    """PPO: `num_epochs` passes over `steps_per_iteration` x `environment.num_envs` transitions."""

    name: Literal["ppo"] = "ppo"
    steps_per_iteration: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Time steps collected in each environment per iteration."""
    num_epochs: NumEpochs = 10
    """Passes over the collected transitions."""
    minibatch_size: PositiveInt = 256
    """Transitions per gradient step."""
    gamma: Fraction = 0.98
    """Discount factor."""
    gae_lambda: Fraction = 0.8
    """GAE's lambda: 0 is the one-step TD error, 1 the whole return."""
    clip_range: PositiveFloat = 0.2
    """How far the probability ratio may leave 1 before its gradient is cut."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """Linear: down to 0 at `trainer.schedule_steps`."""
    normalize_advantage: bool = True
    """Scale each minibatch's advantages to mean 0 and standard deviation 1."""
    value_coefficient: NonNegativeFloat = 0.5
    """Weight of the value loss."""
    value_clip_range: PositiveFloat | None = None
    """Clip the value loss around the old value, in units of return; unset: no clipping."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Weight of the entropy bonus."""
    target_kl: PositiveFloat | None = None
    """End an update once its steps have taken the estimated KL past 1.5 times this, before the next; unset: never."""


class GRPORecipe(Section):
    """GRPO: groups of `group_size` whole episodes from one start state, each compared with its group."""

    name: Literal["grpo"]
    group_size: GroupSize = 16
    """Episodes from each start state; `environment.num_envs` / `group_size` start states per iteration."""
    branch_from: Literal["start", "episode"] = "start"
    """Where groups begin: at an episode's start, or at a random step of an episode played before (training returns
    then count from there)."""
    credit: Literal["outcome", "to_go"] = "outcome"
    """A step's return: its whole episode's, or what is still to come."""
    advantage_scale: Literal["none", "group", "batch"] = "batch"
    """What advantages are divided by: nothing, or the standard deviation of the group's or the batch's returns."""
    scale_floor: NonNegativeFloat = 5.0
    """Least standard deviation to divide by, in units of return: near the best return deviations get tiny."""
    aggregation: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """What a step weighs: 1 / its episode's length (grpo), all the same (dapo), 1 / the time limit (dr_grpo)."""
    num_epochs: NumEpochs = 4
    """Passes over the collected episodes."""
    minibatch_size: PositiveInt | None = None
    """Transitions per gradient step; unset: one step per epoch, over all of them."""
    clip_range: PositiveFloat = 0.2
    """How far the probability ratio may fall below 1, and rise above it, before its gradient is cut."""
    clip_range_high: PositiveFloat | None = None
    """How far it may rise, where that is another number."""
    kl_weight: NonNegativeFloat = 0.0
    """Weight of the KL divergence from the reference policy."""
    kl_estimator: Literal["exact", "k2", "k3"] = "exact"
    """The divergence itself, or its estimate from the actions taken."""
    reference_every: PositiveInt = 1
    """Iterations between renewals of the reference policy, by the policy of that moment."""


class DPORecipe(Section):
    """DPO: pairs of episodes from one start state, the one with the higher return preferred."""

    name: Literal["dpo"]
    group_size: GroupSize = 16
    """Episodes from each start state; `environment.num_envs` / `group_size` start states per iteration."""
    branch_from: Literal["start", "before_failure"] = "start"
    """Where groups begin: at an episode's start, or shortly before the failure of an episode played before."""
    steps_before_failure: PositiveInt = 20
    """Steps before the failure at which groups branch (branch_from = "before_failure")."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Which episodes of a group meet: the best and the worst, the second best and the second worst, and so on;
    or each with each, those of the widest margin first."""
    max_pairs: PositiveInt = 8
    """Most pairs of a group."""
    min_margin: NonNegativeFloat = 0.0
    """Pairs whose returns differ by less are dropped; those whose returns are equal always."""
    rater: Literal["deterministic", "bradley_terry"] = "deterministic"
    """Who prefers: one who sees the returns, or one who errs, the more often the closer they are."""
    rater_temperature: PositiveFloat = 10.0
    """In units of return (rater = "bradley_terry"): a margin of this much is judged rightly 73 times of 100."""
    window: Literal["same_length", "last_k", "full"] = "same_length"
    """Steps that are compared: as many of both as the shorter has, the last of these, or whole episodes."""
    window_steps: PositiveInt = 20
    """How many of the last steps are compared (window = "last_k")."""
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = "sigmoid"
    """The loss, of the margin between the log-ratios of the chosen and the rejected episode."""
    beta: PositiveFloat = 0.1
    """Inverse temperature: the larger, the nearer the policy stays to the reference."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of preferences expected to be wrong (loss = "sigmoid" or "robust")."""
    sft_weight: NonNegativeFloat = 0.0
    """Weight of the chosen steps' negative log-likelihood, which holds their probability up."""
    num_epochs: NumEpochs = 4
    """Passes over the pairs."""
    groups_per_minibatch: PositiveInt | None = None
    """Groups per gradient step; unset: one step per epoch, over all of them."""
    reference_every: PositiveInt = 1
    """Iterations between renewals of the reference policy, by the policy of that moment."""


AlgorithmRecipe = Annotated[ReinforceRecipe | PPORecipe | GRPORecipe | DPORecipe, Field(discriminator="name")]
"""What `Recipe.algorithm` may be: `algorithms/build.py` makes an algorithm of each."""
