"""history.pth: what is kept of a training, and that it is the same after a resume."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import train_tiny
from policies import policy_of

from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.runs.history import MAX_FRAMES, History, Moment, continued, read_history

POLICY = policy_of("clip")


def moment(evaluation: int) -> Moment:
    return Moment(evaluation, 4 * evaluation, 100 * evaluation, float(evaluation) if evaluation else None)


def lived(path: Path, first: int, last: int, history: History | None = None) -> History:
    """A history that was told of these evaluations, with another policy each time."""
    history = history or History(path, POLICY.architecture)
    for evaluation in range(first, last + 1):
        history.add(moment(evaluation), shifted(evaluation), 0)
    history.save()
    return history


def shifted(evaluation: int) -> PolicyNetwork:
    policy = policy_of("clip")
    with torch.no_grad():
        policy.head.log_std.fill_(-evaluation / 1024)  # type: ignore[union-attr, operator]
    return policy


def nobody(note: str) -> None:
    raise AssertionError(note)


@pytest.mark.parametrize("last", [0, 1, 31, 32, 33, 100, 300])
def test_moments_are_evenly_spaced_and_few(last: int, tmp_path: Path) -> None:
    kept = [each.evaluation for each in lived(tmp_path / "history.pth", 0, last).moments]
    stride = kept[1] if len(kept) > 1 else 1
    assert kept == list(range(0, last + 1, stride))
    assert stride & (stride - 1) == 0
    assert len(kept) <= MAX_FRAMES
    assert len(kept) > MAX_FRAMES // 2 or stride == 1


@pytest.mark.parametrize("killed_at", [3, 32, 40, 70])
@pytest.mark.parametrize("known", [0, 30, 33])
def test_one_that_goes_on_ends_with_the_same_bytes(killed_at: int, known: int, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    lived(whole, 0, 70)
    lived(cut, 0, killed_at)
    resumed = continued(cut, POLICY, min(known, killed_at), nobody)
    lived(cut, min(known, killed_at) + 1, 70, resumed)
    assert cut.read_bytes() == whole.read_bytes()


def test_a_frame_is_the_policy_of_its_moment_in_half_precision(tmp_path: Path) -> None:
    lived(tmp_path / "history.pth", 0, 5)
    history = read_history(tmp_path / "history.pth")
    for place, policy in enumerate(map(shifted, range(6))):
        kept = history.policy(place)
        assert kept.value_network is None
        for name, value in kept.state_dict().items():
            torch.testing.assert_close(value, policy.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_weights_beyond_half_precision_stay_finite(tmp_path: Path) -> None:
    policy = policy_of("discrete")
    with torch.no_grad():
        next(policy.torso.parameters()).fill_(1e30)
    history = History(tmp_path / "history.pth", policy.architecture)
    history.add(moment(0), policy, 0)
    history.save()
    assert all(row.isfinite().all() for row in read_history(history.path).weights)


@pytest.mark.parametrize("damage", [lambda content: content[:-50], lambda _: b"", lambda _: b"x" * 1000])
def test_a_damaged_one_is_set_aside(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path, notes = tmp_path / "history.pth", []
    lived(path, 0, 5)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CartpoleError):
        read_history(path)
    assert continued(path, POLICY, 5, notes.append).moments == []
    assert "history.damaged.pth" in notes[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["history.damaged.pth"]


def test_one_of_another_network_is_set_aside(tmp_path: Path) -> None:
    lived(tmp_path / "history.pth", 0, 5)
    notes: list[str] = []
    continued(tmp_path / "history.pth", policy_of("discrete"), 5, notes.append)
    assert "belongs to another network" in notes[0]


def test_a_run_keeps_one_and_a_study_one_per_seed(tmp_path: Path) -> None:
    train_tiny(tmp_path, "run")
    train_tiny(tmp_path, "study", "trainer.num_seeds=2")
    run = read_history(tmp_path / "run" / "history.pth")
    assert [each.evaluation for each in run.moments] == [0, 1, 2]
    assert [each.env_steps for each in run.moments] == [0, 256, 384]
    assert not (tmp_path / "study" / "history.pth").exists()
    assert (tmp_path / "study" / "s0" / "history.pth").read_bytes() == run.path.read_bytes()
    assert (tmp_path / "study" / "s1" / "history.pth").exists()
