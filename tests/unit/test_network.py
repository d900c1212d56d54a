"""The stacked network: a seed among others is its solo network, and the weights start as they should."""

import json
import math

import pytest
import torch
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams

pytestmark = pytest.mark.shapes

SEEDS = (10, 11, 12)
HEADS = {
    "categorical": {"actions": PUSHES},
    "gaussian": {"actions": FORCE, "squash": "tanh"},
}
HIDDEN_SIZES = [(64, 64), (16,)]


def architecture(
    head: str = "categorical", hidden_sizes: tuple[int, ...] = (64, 64), **changes: object
) -> Architecture:
    fields = {"observation_size": 4, "activation": "tanh", "value_network": True} | HEADS[head] | changes
    return Architecture(hidden_sizes=hidden_sizes, **fields)


def observations(batch_size: int) -> Tensor:
    return torch.randn(len(SEEDS), batch_size, 4, generator=torch.Generator().manual_seed(batch_size))


def perturb(network: PolicyNetwork) -> None:
    """Move every parameter away from its initial value, each seed differently."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def outputs(network: PolicyNetwork, observation: Tensor) -> dict[str, Tensor]:
    distribution = network.distribution(observation)
    return {
        **vars(distribution),
        "entropy": distribution.entropy(),
        "log_prob": distribution.log_prob(distribution.mode()),
        "greedy_action": network.greedy_action(observation),
        "value": network.value(observation),
    }


@pytest.mark.parametrize("hidden_sizes", HIDDEN_SIZES)
@pytest.mark.parametrize("head", HEADS)
def test_a_seed_starts_with_the_weights_of_its_solo_network(head: str, hidden_sizes: tuple[int, ...]):
    stacked = PolicyNetwork(architecture(head, hidden_sizes), Streams(SEEDS))
    solo = PolicyNetwork(architecture(head, hidden_sizes), Streams(SEEDS[1:2]))
    state = stacked.seed_state(1)
    assert state.keys() == solo.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in solo.state_dict().items())


@pytest.mark.parametrize("batch_size", [1, 5, 100, 256])
@pytest.mark.parametrize("hidden_sizes", HIDDEN_SIZES)
@pytest.mark.parametrize("head", HEADS)
def test_a_seed_computes_the_bits_of_its_solo_network(head: str, hidden_sizes: tuple[int, ...], batch_size: int):
    stacked = PolicyNetwork(architecture(head, hidden_sizes), Streams(SEEDS))
    perturb(stacked)
    solo = PolicyNetwork(architecture(head, hidden_sizes), Streams((0,)))
    solo.load_state_dict(stacked.seed_state(1))
    observation = observations(batch_size)
    among_others, alone = outputs(stacked, observation), outputs(solo, observation[1:2])
    assert {name for name, value in alone.items() if not torch.equal(among_others[name][1:2], value)} == set()


@pytest.mark.parametrize("batch_size", [1, 5, 100, 256])
@pytest.mark.parametrize("hidden_sizes", [*HIDDEN_SIZES, (16, 48)])
@pytest.mark.parametrize("head", HEADS)
def test_a_seed_gets_the_gradient_bits_of_its_solo_network(head: str, hidden_sizes: tuple[int, ...], batch_size: int):
    stacked = PolicyNetwork(architecture(head, hidden_sizes), Streams(SEEDS))
    perturb(stacked)
    solo = PolicyNetwork(architecture(head, hidden_sizes), Streams((0,)))
    solo.load_state_dict(stacked.seed_state(1))
    observation = observations(batch_size)

    def gradients(network: PolicyNetwork, observation: Tensor) -> dict[str, Tensor]:
        distribution = network.distribution(observation)
        action = distribution.sample(torch.full(distribution.mode().shape, 0.5)).detach()
        log_prob = distribution.log_prob(action)
        total = (log_prob * observation[:, :, 0] + network.value(observation).square()).mean(dim=1).sum()
        names, parameters = zip(*network.named_parameters(), strict=True)
        return dict(zip(names, torch.autograd.grad(total, parameters), strict=True))

    among_others, alone = gradients(stacked, observation), gradients(solo, observation[1:2])
    assert {name for name, value in alone.items() if not torch.equal(among_others[name][1:2], value)} == set()


def test_different_seeds_start_differently_and_compute_differently():
    network = PolicyNetwork(architecture(), Streams(SEEDS))
    observation = observations(5)[:1].expand(3, -1, -1)
    value = network.value(observation)
    assert not torch.equal(value[0], value[1])
    assert not torch.equal(value[1], value[2])


@pytest.mark.parametrize("hidden_sizes", [(64, 64), (3,)])
def test_initial_weights_are_orthogonal_with_their_gains_and_biases_zero(hidden_sizes: tuple[int, ...]):
    network = PolicyNetwork(architecture("categorical", hidden_sizes), Streams(SEEDS))
    for trunk, output_gain in ((network.torso, 0.01), (network.value_network, 1.0)):
        layers = [layer for layer in trunk if hasattr(layer, "weight")]
        gains = [math.sqrt(2)] * len(hidden_sizes) + [output_gain]
        for layer, gain in zip(layers, gains, strict=True):
            weight = layer.weight.detach() / gain
            inputs, outputs = weight.shape[1:]
            gram = weight @ weight.mT if inputs < outputs else weight.mT @ weight
            identity = torch.eye(min(inputs, outputs)).expand_as(gram)
            torch.testing.assert_close(gram, identity, rtol=0, atol=2e-6)
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_initial_weights_have_no_preferred_sign():
    """QR by Householder reflections alone makes the first entry of every block negative."""
    network = PolicyNetwork(architecture("categorical", (3,)), Streams(range(50)))
    positive = (network.torso[0].weight[:, 0, 0] > 0).sum().item()
    assert 10 < positive < 40  # half of 50, and four standard deviations of 3.5


def test_no_two_seeds_nor_trunks_share_initial_weights():
    network = PolicyNetwork(architecture(), Streams(SEEDS))
    first_layers = torch.cat([network.torso[0].weight.detach(), network.value_network[0].weight.detach()])
    assert len({tuple(block.flatten().tolist()) for block in first_layers}) == 6


def test_policy_and_value_trunk_share_no_parameter():
    network = PolicyNetwork(architecture(), Streams(SEEDS))
    observation = observations(5)
    policy_parameters, value_parameters = [*network.torso.parameters()], [*network.value_network.parameters()]
    log_prob = network.distribution(observation).log_prob(torch.zeros(3, 5, dtype=torch.int64))
    of_value = torch.autograd.grad(network.value(observation).sum(), policy_parameters, allow_unused=True)
    of_policy = torch.autograd.grad(log_prob.sum(), value_parameters, allow_unused=True)
    assert [*of_value, *of_policy] == [None] * (len(policy_parameters) + len(value_parameters))
    assert not {p.data_ptr() for p in policy_parameters} & {p.data_ptr() for p in value_parameters}


def test_the_policy_starts_the_same_with_and_without_a_value_network():
    with_value = PolicyNetwork(architecture(), Streams(SEEDS))
    without = PolicyNetwork(architecture(value_network=False), Streams(SEEDS))
    assert without.value_network is None
    assert all(torch.equal(with_value.state_dict()[name], value) for name, value in without.state_dict().items())


def test_seed_state_is_a_copy():
    network = PolicyNetwork(architecture(), Streams(SEEDS))
    state = network.seed_state(1)
    before = {name: value.clone() for name, value in state.items()}
    perturb(network)
    assert all(torch.equal(state[name], value) for name, value in before.items())


@pytest.mark.parametrize("head", HEADS)
def test_architecture_survives_the_way_through_plain_data(head: str):
    original = architecture(head, (5, 7), activation="relu", value_network=False)
    data = json.loads(json.dumps(original.as_plain_data()))
    assert Architecture.from_plain_data(data) == original
    assert Architecture.from_plain_data(data | {"initial_log_std": -0.5}) == original  # as older checkpoints say


def test_each_member_begins_with_its_own_log_std():
    initial = torch.tensor([-1.0, 0.25])
    network = PolicyNetwork(architecture("gaussian", (5,)), Streams(SEEDS[:2]), initial_log_std=initial)
    assert network.head.log_std.flatten().tolist() == [-1.0, 0.25]


def test_activation_is_the_one_asked_for():
    # hidden layer the identity, output weights one: relu(-1) + relu(2) = 2, tanh(-1) + tanh(2)
    expected = {"relu": 2.0, "tanh": math.tanh(-1) + math.tanh(2)}
    for activation, sum_of_hidden in expected.items():
        network = PolicyNetwork(
            architecture("gaussian", (2,), activation=activation, observation_size=2), Streams((0,))
        )
        with torch.no_grad():
            network.value_network[0].weight[:] = torch.eye(2)
            network.value_network[2].weight[:] = 1.0
        assert network.value(torch.tensor([[[-1.0, 2.0]]])).item() == pytest.approx(sum_of_hidden, rel=1e-6)


def test_greedy_action_is_the_mode_in_the_environments_units():
    network = PolicyNetwork(architecture("gaussian", (5,)), Streams(SEEDS))
    perturb(network)
    observation = observations(5)
    expected = 10 * network.distribution(observation).mean.tanh()
    torch.testing.assert_close(network.greedy_action(observation), expected, rtol=1e-6, atol=1e-6)


def test_action_noise_has_one_number_per_row_or_action_dimension():
    streams = Streams(SEEDS)
    uniform = PolicyNetwork(architecture("categorical"), streams).action_noise(streams, (50, 4), 3)
    normal = PolicyNetwork(architecture("gaussian"), streams).action_noise(streams, (50, 4), 3)
    assert uniform.shape == (3, 50, 4)
    assert normal.shape == (3, 50, 4, 1)
    assert 0 <= uniform.min() < uniform.max() < 1
    assert normal.min() < -2 < 2 < normal.max()


@pytest.mark.parametrize("head", HEADS)
def test_selected_seeds_are_a_copy_of_their_own(head: str):
    network = PolicyNetwork(architecture(head), Streams(SEEDS))
    perturb(network)
    observation = observations(5)
    expected = outputs(network, observation)
    chosen = network.select([2, 0])
    assert (chosen.num_seeds, chosen.architecture, network.num_seeds) == (2, network.architecture, 3)
    for name, value in outputs(chosen, observation[[2, 0]]).items():
        assert torch.equal(value, expected[name][[2, 0]]), name
    with torch.no_grad():
        for parameter in chosen.parameters():
            parameter.zero_()
    assert all(torch.equal(value, expected[name]) for name, value in outputs(network, observation).items())


@pytest.mark.parametrize("head", HEADS)
def test_networks_are_stacked_in_their_order_and_left_alone(head: str):
    networks = [PolicyNetwork(architecture(head), Streams([seed])) for seed in SEEDS]
    for network, others in zip(networks, (0, 1, 2), strict=True):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.01 * others)
    stacked = PolicyNetwork.stack([networks[0], PolicyNetwork.stack(networks[1:])])
    assert (stacked.num_seeds, networks[0].num_seeds) == (3, 1)
    observation = observations(5)
    together = outputs(stacked, observation)
    for index, network in enumerate(networks):
        assert all(torch.equal(stacked.seed_state(index)[key], value) for key, value in network.state_dict().items())
        for name, value in outputs(network, observation[index : index + 1]).items():
            assert torch.equal(together[name][index : index + 1], value), name
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.zero_()
    assert networks[0].torso[0].weight.ne(0).any()


@pytest.mark.parametrize("head", HEADS)
def test_a_network_goes_on_with_the_seeds_that_are_kept(head: str):
    network = PolicyNetwork(architecture(head), Streams(SEEDS))
    perturb(network)
    observation = observations(5)
    expected = outputs(network, observation)
    parameters = list(network.parameters())
    network.keep_seeds([1, 2])
    assert network.num_seeds == 2
    for name, value in outputs(network, observation[1:]).items():
        assert torch.equal(value, expected[name][1:]), name
    assert all(one is other for one, other in zip(network.parameters(), parameters, strict=True)), "an optimizer's"
