"""What leaves the house does what the policy does: held against torch, state by state and episode by episode."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartpole_cli.actions import FORCE, PUSHES, Continuous, drives_cart_pole
from cartpole_cli.deploy.page_policy import PagePolicy
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.action_heads import Categorical, GaussianHead
from cartpole_cli.policy.network import OBSERVATION_LIMIT, PolicyNetwork, StackedLinear
from cartpole_cli.randomness import Streams
from cartpole_cli.training.evaluation import play

NUM_STATES = 10_000
NUM_GOLDEN = 64
NUM_ORDINARY = 3000
NUM_EPISODES = 20
EPISODE_STEPS = 500
TOLERANCE = 1e-5


class Verification:
    """What a policy with S = 1 does, to hold against it what was made of it.

    Raises:
        CartpoleError: it is no cart-pole policy.
    """

    def __init__(self, policy: PolicyNetwork) -> None:
        if not drives_cart_pole(policy.observation_size, policy.actions):
            raise CartpoleError("only a cart-pole's policy can be exported: 4 observations, and 2 actions or one force")
        self.policy = policy
        self.states = _states(policy)
        with torch.no_grad():
            self._expected, self._scale = _outputs(policy, self.states), _scale(policy, self.states)
        self._returns = play(policy.greedy_action, _judge(policy, NUM_EPISODES))
        self._golden = torch.linspace(0, NUM_STATES - 1, NUM_GOLDEN).long()

    @property
    def output_name(self) -> str:
        """What the policy's outputs are."""
        return "force" if isinstance(self.policy.actions, Continuous) else "logits"

    @property
    def golden_states(self) -> Float[Tensor, "G 4"]:
        """Observations to test other runtimes with."""
        return self.states[self._golden]

    @property
    def golden_rows(self) -> Float[Tensor, "G columns"]:
        """These, torch's outputs there, and how far from these one may be: 4, V and 1 columns."""
        allowed = TOLERANCE * self._scale[self._golden]
        return torch.cat([self.golden_states, self._expected[self._golden], allowed], dim=1)

    def check(self, made: PagePolicy) -> None:
        """Same outputs, same greedy actions, same episodes.

        Raises:
            CartpoleError: it does something else.
        """
        given = made.values(self.states)
        error = ((given - self._expected).abs() / self._scale).max().item()
        if not error <= TOLERANCE:  # nan, too
            raise CartpoleError(
                f"the exported file is wrong: its outputs are {error:.1e} of their scale off; nothing written"
            )
        if given.shape[1] == 2:
            clear = (self._expected[:, 0] - self._expected[:, 1]).abs() > TOLERANCE * self._scale[:, 0]
            if not torch.equal(given.argmax(dim=1)[clear], self._expected.argmax(dim=1)[clear]):
                raise CartpoleError("the exported file is wrong: it takes other actions; nothing written")
        if not torch.equal(self._returns, play(made.greedy_action, _judge(self.policy, NUM_EPISODES))):
            raise CartpoleError("the exported file is wrong: its episodes have other returns; nothing written")


@torch.no_grad()
def _states(policy: PolicyNetwork) -> Float[Tensor, "N 4"]:
    """10,000 states: of poles that stand and of any, ones of every magnitude a float32 has, and ones it visits."""
    streams = Streams([0], "cpu", name="export")
    ordinary = streams.normal("ordinary", shape=(NUM_ORDINARY, 4))[0]
    ordinary[::2, 2] *= 0.1
    ordinary[1::2] *= 3.0
    sign = streams.uniform("sign", shape=(2000, 4))[0] - 0.5
    exponent = streams.uniform("exponent", shape=(2000, 4))[0] * 76 - 38
    extreme = (sign.sign().double() * 10.0 ** exponent.double()).float()
    environment = _judge(policy, 100)
    visited = []
    for _ in range(50):
        visited.append(environment.observation[0])
        environment.step(policy.greedy_action(environment.observation))
    return torch.cat([ordinary, extreme, *visited])


def _judge(policy: PolicyNetwork, num_episodes: int) -> GymnasiumCartPole:
    streams = Streams([0], "cpu", name="export/episodes")
    actions = FORCE if isinstance(policy.actions, Continuous) else PUSHES
    return GymnasiumCartPole(streams, num_episodes, actions, max_episode_steps=EPISODE_STEPS)


def _scale(policy: PolicyNetwork, states: Float[Tensor, "N 4"]) -> Float[Tensor, "N 1"]:
    """How large the numbers are that the last layer adds up: rounding is relative to these, however they cancel."""
    *hidden_layers, last = policy.torso
    assert isinstance(last, StackedLinear)
    hidden = nn.Sequential(*hidden_layers)(states.unsqueeze(0).clamp(-OBSERVATION_LIMIT, OBSERVATION_LIMIT))
    scale = torch.baddbmm(last.bias.abs(), hidden.abs(), last.weight.abs())[0].amax(dim=1, keepdim=True)
    if isinstance(policy.head, GaussianHead):
        scale = scale * policy.head.half_range
    return scale.clamp(min=max(scale[:NUM_ORDINARY].max().item(), 1e-30))


def _outputs(policy: PolicyNetwork, states: Float[Tensor, "N 4"]) -> Float[Tensor, "N V"]:
    distribution = policy.distribution(states.unsqueeze(0))
    if isinstance(distribution, Categorical):
        return distribution.logits[0]
    return policy.environment_action(distribution.mode())[0]
