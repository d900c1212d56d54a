"""The base class of all sections of a recipe, and the sections of the policy network, the trainer and the logger."""

import math
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PositiveFloat, PositiveInt
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from cartpole_cli.recipe.documentation import documentation_of

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A table of a recipe: every field known, typed and documented."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        properties = handler.resolve_ref_schema(json_schema)["properties"]
        for name, text in documentation_of(cls).items():
            properties[name]["description"] = text
        return json_schema


SectionT = TypeVar("SectionT", bound=Section)


def shape_of(section: SectionT) -> SectionT:
    """The fields that must be equal for all members of one computation; the numbers, which may differ, are nan here.

    A 0 is kept: it leaves out a term, and would leave it out for all members.
    """
    numbers = {name: math.nan for name, value in section if isinstance(value, float) and value}
    return section.model_copy(update=numbers)


class PolicyRecipe(Section):
    """The policy network; the value network, if the algorithm has one, has the same sizes."""

    action_head: Literal["auto", "categorical", "gaussian"] = "auto"
    """Kind of action: discrete (categorical), a continuous force (gaussian), or what the environment takes (auto)."""
    features: Literal["raw", "scaled", "trig", "fine"] = "raw"
    """What the network sees of a cart-pole: its four numbers (raw), with theta in tenths of a radian (scaled), with
    sine and cosine instead of theta (trig), or trig and small deviations from rest, magnified (fine)."""
    hidden_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4_096)], ...], Field(strict=False, min_length=1, max_length=16)
    ] = (64, 64)
    """Width of each hidden layer; with multiples of 16, a seed gives the same bits alone and in a study."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity after each hidden layer."""
    value_sees: Literal["observation", "physics"] = "observation"
    """What the value network sees: the policy's observation (observation), or also the episode's physics, current
    disturbances and the last force (physics). The policy never sees these."""
    squash: Literal["clip", "tanh"] = "clip"
    """Keeps a Gaussian action in the environment's range: by clipping (clip) or by hyperbolic tangent (tanh)."""
    initial_log_std: Annotated[float, Field(ge=-3, le=0.5)] = -0.5
    """Initial log standard deviation of a Gaussian action, in units of half the action range."""


class TrainerRecipe(Section):
    """Budget, optimizer, evaluation and files. An iteration collects experience once and updates on it."""

    num_steps: Annotated[int, Field(ge=1, le=10**15)] = 100_000
    """Budget in environment steps; the iteration that reaches it is the last."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random number of the run."""
    num_seeds: Annotated[int, Field(ge=1, le=1_024)] = 1
    """Number of seeds, from `seed` on; more than 1 make a study, trained as one computation."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's step size."""
    learning_rate_schedule: Literal["constant", "linear"] = "linear"
    """How the learning rate changes: not at all, or linearly to 0 at `schedule_steps`."""
    schedule_steps: PositiveInt | None = None
    """Environment steps at which linear schedules reach 0; unset: `num_steps`."""
    max_grad_norm: PositiveFloat = 0.5
    """Largest gradient norm; larger gradients are scaled down to it."""
    evaluate_every: PositiveInt = 10
    """Iterations between held-out evaluations; the best evaluation's weights become best.pth."""
    evaluation_episodes: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Episodes of each held-out evaluation (the selection set)."""
    stop_at_return: float | None = None
    """Mean held-out return that ends the training, once 100 fresh episodes confirm it; unset: none. On
    the cart-pole these last twice as long, to catch a slow drift, and their returns are halved."""
    save_every: Annotated[int, Field(ge=0)] = 0
    """Iterations between snapshots in checkpoints/; 0: none."""
    render_every: Annotated[int, Field(ge=0)] = 0
    """Iterations between films of a greedy episode, in videos/ and on W&B if on; 0: none. Needs the [video] extra."""
    checkpoint_every: PositiveInt = 25
    """Iterations between writes of last.pth; a crash loses no more than these."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to train on; auto: CUDA, then MPS, then CPU."""
    num_threads: Annotated[int, Field(ge=1, le=1_024)] = 1
    """CPU threads; one is fastest for small networks, and results are bit-exact only with one."""

    @property
    def schedule_end(self) -> int:
        """Environment steps at which linear schedules reach 0."""
        return self.schedule_steps or self.num_steps


class LoggerRecipe(Section):
    """Where metrics go besides metrics.jsonl."""

    type: Literal["disabled", "wandb"] = "disabled"
    """Where metrics go besides metrics.jsonl: to Weights & Biases, or nowhere."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """Mode of W&B; offline files are uploaded later with `wandb sync`."""
    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\w.-]+$")] = "cartpole"
    """Project on W&B."""
