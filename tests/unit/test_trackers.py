"""Trackers: metrics.jsonl always; W&B when asked, and never at the training's cost."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.session import Session
from cartpole_cli.runs.trackers import MetricsFile, WandbTracker

ITERATIONS = 3


def recipe(render_every: int = 0, *, num_seeds: int = 1, **logger: str) -> Recipe:
    return Recipe.model_validate(
        {
            "algorithm": {"name": "ppo", "steps_per_iteration": 8, "num_epochs": 1, "minibatch_size": 32},
            "environment": {"backend": "native", "num_envs": 4},
            "policy": {"hidden_sizes": [8]},
            "trainer": {
                "num_steps": 32 * ITERATIONS,
                "evaluation_episodes": 2,
                "render_every": render_every,
                "seed": 5 if num_seeds > 1 else 0,
                "num_seeds": num_seeds,
            },
            "logger": logger,
        }
    )


# metrics.jsonl


def test_a_line_of_metrics_can_be_read_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    records = [{"iteration": 1, "x": 0.1, "y": None}, {"iteration": 2, "x": -3e-5}]
    for number, record in enumerate(records, start=1):
        file.log(record)
        assert [json.loads(line) for line in path.read_text().splitlines()] == records[:number]
    file.close()


def test_what_json_cannot_say_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.log({"a": float("nan"), "b": float("inf"), "c": float("-inf"), "d": 1.5})
    file.close()
    assert path.read_text() == '{"a": null, "b": null, "c": null, "d": 1.5}\n'


def test_metrics_go_on_where_they_ended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for iteration in (1, 2):
        file = MetricsFile(path)
        file.log({"iteration": iteration})
        file.close()
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'


def test_metrics_that_cannot_be_written_are_one_line(tmp_path):
    with pytest.raises(CartpoleError, match="cannot be written") as caught:
        MetricsFile(tmp_path)
    assert len(caught.value.problems) == 1
    full = Path("/dev/full")
    if full.exists():
        file = MetricsFile(full)
        with pytest.raises(CartpoleError, match="cannot be written"):
            file.log({"iteration": 1})


# W&B, played by a stand-in


class StandIn(ModuleType):
    """A `wandb` that records what is asked of it and fails where it is told to."""

    def __init__(self, *fails: str) -> None:
        super().__init__("wandb")
        self.fails = fails
        self.inits: list[dict] = []
        self.logged: list[dict] = []
        self.finished = 0
        self.of_run: dict[str, list[int]] = {}
        self.Settings = SimpleNamespace
        self.Video = self._video

    def _may_fail(self, what: str) -> None:
        if what in self.fails:
            raise RuntimeError(f"{what} is broken\nand this is its second line")

    def setup(self, **_: object) -> None:
        self._may_fail("setup")

    def login(self, **_: object) -> bool:
        self._may_fail("login")
        return True

    def init(self, **options):
        self.inits.append(options)
        self._may_fail(f"init {options['mode']}")
        return SimpleNamespace(
            log=self._logs_of(options["name"]),
            finish=self._finish,
            dir=str(Path(options["dir"]) / "wandb" / "run" / "files"),
            settings=SimpleNamespace(mode=options["mode"]),
        )

    def _log(self, record, step=None):
        self.logged.append(dict(record) | {"step": step})
        self._may_fail("log")

    def _logs_of(self, name: str):
        def log(record, step=None):
            self.of_run.setdefault(name, []).append(step)
            self._log(record, step)

        return log

    def _video(self, path):
        self._may_fail("video")
        return f"film {path}"

    def _finish(self):
        self.finished += 1
        self._may_fail("finish")


@pytest.fixture(autouse=True)
def _environment_is_put_back(monkeypatch):
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # the tracker sets it for the whole process


@pytest.fixture
def stand_in(monkeypatch):
    def put(*fails: str) -> StandIn:
        module = StandIn(*fails)
        monkeypatch.setitem(sys.modules, "wandb", module)
        return module

    return put


def train(tmp_path, render_every: int = 0, **logger: str) -> list[str]:
    """Train to the end whatever W&B does; what the user was told."""
    told: list[str] = []
    session = Session.create(
        recipe(render_every, type="wandb", **logger),
        device=torch.device("cpu"),
        recipe_name="small",
        runs_dir=tmp_path,
        name="run",
        tell=told.append,
    )
    with session:
        for _ in session.reports():
            pass
        summary = session.finish()
    assert summary.status == "finished"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == ITERATIONS
    assert all(len(line.splitlines()) == 1 for line in told)
    return told


def warnings(told: list[str]) -> list[str]:
    return [line for line in told if "warning" in line]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_wandb_gets_the_recipe_and_the_lines_of_metrics(tmp_path, stand_in, mode):
    wandb = stand_in()
    told = train(tmp_path, mode=mode, project="pole")
    (options,) = wandb.inits
    assert options["mode"] == mode
    assert options["project"] == "pole"
    assert options["dir"] == str(tmp_path / "run")
    assert options["config"] == recipe(type="wandb", mode=mode, project="pole").model_dump(mode="json")
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [{key: value for key, value in record.items() if key != "step"} for record in wandb.logged] == written
    assert [record["step"] for record in wandb.logged] == [1, 2, 3]
    assert wandb.finished == 1
    assert warnings(told) == []
    assert any("wandb sync" in line for line in told) == (mode == "offline")


@pytest.mark.parametrize("fails", ["setup", "login", "init online"])
def test_wandb_that_cannot_go_online_costs_one_warning_and_goes_on_offline(tmp_path, stand_in, fails):
    wandb = stand_in(fails)
    told = train(tmp_path, mode="online")
    (warning,) = warnings(told)
    assert f"{fails} is broken" in warning
    assert "offline" in warning
    assert wandb.inits[-1]["mode"] == "offline"
    assert len(wandb.logged) == ITERATIONS
    assert "wandb sync" in told[-1]


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("fails", ["log", "finish"])
def test_wandb_that_breaks_during_training_costs_one_warning(tmp_path, stand_in, mode, fails):
    wandb = stand_in(fails)
    (warning,) = warnings(train(tmp_path, mode=mode))
    assert f"{fails} is broken" in warning
    assert len(wandb.logged) == (1 if fails == "log" else ITERATIONS)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_wandb_that_never_starts_costs_one_warning(tmp_path, stand_in, mode):
    stand_in("init online", "init offline")
    (told,) = train(tmp_path, mode=mode)
    assert "warning" in told


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_wandb_that_is_not_installed_costs_one_warning(tmp_path, monkeypatch, mode):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (told,) = train(tmp_path, mode=mode)
    assert "warning" in told


def test_wandb_is_not_touched_in_mode_disabled(tmp_path, stand_in):
    wandb = stand_in()
    assert train(tmp_path, mode="disabled") == []
    assert wandb.inits == []


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_each_seed_of_a_study_is_a_wandb_run_of_its_group(tmp_path, stand_in, mode):
    wandb, told = stand_in(), []
    study = recipe(type="wandb", mode=mode, num_seeds=2)
    session = Session.create(
        study, device=torch.device("cpu"), recipe_name="small", runs_dir=tmp_path, name="two", tell=told.append
    )
    with session:
        for report in session.reports():
            assert wandb.of_run == {f"two-s{seed}": list(range(1, report.iteration + 1)) for seed in (5, 6)}
        session.finish()
    assert [(options["name"], options["group"]) for options in wandb.inits] == [("two-s5", "two"), ("two-s6", "two")]
    assert [options["dir"] for options in wandb.inits] == [str(tmp_path / "two" / f"s{seed}") for seed in (5, 6)]
    assert [options["config"] for options in wandb.inits] == [
        study.for_seed(seed).model_dump(mode="json") for seed in (5, 6)
    ]
    assert len({options["id"] for options in wandb.inits}) == 2
    assert {options["reinit"] for options in wandb.inits} == {"create_new"}
    assert wandb.finished == 2
    assert warnings(told) == []
    assert len([line for line in told if "wandb sync" in line]) == (2 if mode == "offline" else 0)


@pytest.mark.parametrize(
    ("fails", "inits"), [(("login",), 3), (("init online",), 4), (("init online", "init offline"), 2)]
)
def test_a_study_asks_wandb_once_and_hears_one_warning(tmp_path, stand_in, fails, inits):
    wandb, told = stand_in(*fails), []
    study = recipe(type="wandb", mode="online", num_seeds=3)
    session = Session.create(
        study, device=torch.device("cpu"), recipe_name="small", runs_dir=tmp_path, name="three", tell=told.append
    )
    with session:
        for _ in session.reports():
            pass
        session.finish()
    assert len(warnings(told)) == 1
    assert len(wandb.inits) == inits
    assert len(wandb.logged) == (0 if "init offline" in fails else 3 * ITERATIONS)


def test_wandb_that_breaks_during_a_study_costs_one_warning(tmp_path, stand_in):
    stand_in("log")
    told: list[str] = []
    study = recipe(type="wandb", mode="offline", num_seeds=3)
    session = Session.create(
        study, device=torch.device("cpu"), recipe_name="small", runs_dir=tmp_path, name="three", tell=told.append
    )
    with session:
        for _ in session.reports():
            pass
    assert len(warnings(told)) == 1


def test_a_run_alone_is_in_no_group(tmp_path, stand_in):
    wandb = stand_in()
    train(tmp_path, mode="offline")
    assert [(options["name"], options["group"]) for options in wandb.inits] == [("run", None)]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_wandb_gets_the_films_at_the_step_of_their_iteration(tmp_path, stand_in, mode):
    wandb = stand_in()
    assert warnings(train(tmp_path, render_every=2, mode=mode)) == []
    path = tmp_path / "run" / "videos" / "step_000000064.mp4"
    assert path.is_file()
    assert [record for record in wandb.logged if "video" in record] == [{"video": f"film {path}", "step": 2}]
    assert [record["step"] for record in wandb.logged] == [1, 2, 2, 3]  # W&B takes no step back


@pytest.mark.parametrize("fails", ["video", "log", "init offline"])
def test_a_film_that_wandb_does_not_take_costs_one_warning_and_is_kept(tmp_path, stand_in, fails):
    stand_in(fails)
    (warning,) = warnings(train(tmp_path, render_every=1, mode="offline"))
    assert f"{fails} is broken" in warning
    assert len(list((tmp_path / "run" / "videos").iterdir())) == ITERATIONS


def test_films_are_kept_without_wandb_too(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (told,) = train(tmp_path, render_every=1, mode="offline")
    assert "warning" in told
    assert len(list((tmp_path / "run" / "videos").iterdir())) == ITERATIONS


def test_metrics_have_no_line_for_a_film(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.log_video(tmp_path / "film.mp4", 1)
    file.close()
    assert path.read_text() == ""


def test_a_closed_tracker_says_nothing_more(tmp_path, stand_in):
    wandb = stand_in("log")
    told: list[str] = []
    tracker = WandbTracker(recipe(type="wandb", mode="offline"), tmp_path, "abc12345", told.append, ["offline"])
    for iteration in (1, 2):
        tracker.log({"iteration": iteration})
    tracker.close()
    assert len(wandb.logged) == len(warnings(told)) == 1


# The real W&B, in processes of its own


OVERRIDES = [
    f"trainer.num_steps={32 * ITERATIONS}",
    "trainer.evaluation_episodes=2",
    "environment.num_envs=4",
    "algorithm.steps_per_iteration=8",
    "algorithm.minibatch_size=32",
]


def start(folder: Path, *overrides: str, environment: dict[str, str] | None = None, **streams) -> subprocess.Popen:
    """`cartpole train` with W&B, as a user without an account would have it."""
    home = folder / "home"
    home.mkdir(parents=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    clean |= {"HOME": str(home), "NETRC": str(home / "netrc"), "WANDB_CONFIG_DIR": str(home), "TERM": "xterm"}
    clean |= {"WANDB_CACHE_DIR": str(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    command = [sys.executable, "-m", "cartpole_cli", "train", "--recipe", "ppo", "--quiet", "--name", "run"]
    return subprocess.Popen(
        [*command, "--runs-dir", str(folder), *OVERRIDES, *overrides], env=clean | (environment or {}), **streams
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Four at once, of which each waits for something else: folder and output by name."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("offline", "keyless", "unreachable", "study")}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    terminal, other_end = pty.openpty()
    processes = {
        "offline": start(
            folders["offline"], "logger.type=wandb", "logger.mode=offline", "trainer.render_every=2", **pipes
        ),
        # On a terminal, where W&B would ask for a key.
        "keyless": start(folders["keyless"], "logger.type=wandb", stdin=other_end, stdout=other_end, stderr=other_end),
        "unreachable": start(
            folders["unreachable"],
            "logger.type=wandb",
            environment={"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0123456789" * 4},
            **pipes,
        ),
        "study": start(
            folders["study"], "logger.type=wandb", "logger.mode=offline", "--seeds", "2", "--seed", "5", **pipes
        ),
    }
    os.close(other_end)
    output = {}
    try:
        output["offline"] = processes["offline"].communicate(timeout=60)[0]
        output["study"] = processes["study"].communicate(timeout=60)[0]
        output["unreachable"] = processes["unreachable"].communicate(timeout=60)[0]
        processes["keyless"].wait(timeout=60)
        output["keyless"] = read_all(terminal)
        for name, process in processes.items():
            assert process.returncode == 0, output[name]
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        os.close(terminal)
    return {name: (folder / "run", output[name].splitlines()) for name, folder in folders.items()}


def read_all(terminal: int) -> str:
    data = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux: nobody is at the other end any more
            part = b""
        if not part:
            return data.decode()
        data += part


def check_offline_files(run: Path, sync_line: str) -> None:
    folder = Path(sync_line.partition("wandb sync ")[2].strip())
    assert folder.parent == run / "wandb"
    (log,) = folder.glob("run-*.wandb")
    content = log.read_bytes()
    assert b"policy_loss" in content
    assert b"steps_per_iteration" in content
    assert len((run / "metrics.jsonl").read_text().splitlines()) == ITERATIONS
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_offline_keeps_its_files_in_the_run_folder_and_says_how_to_upload_them(real):
    run, lines = real["offline"]
    (line,) = lines
    check_offline_files(run, line)


def test_offline_keeps_each_seed_of_a_study_in_its_folder_and_says_how_to_upload_it(real):
    study, lines = real["study"]
    for seed, line in zip((5, 6), lines, strict=True):
        check_offline_files(study / f"s{seed}", line)
        (log,) = (study / f"s{seed}").glob("wandb/offline-run-*/run-*.wandb")
        assert f"run-s{seed}".encode() in log.read_bytes()
    assert json.loads((study / "study.json").read_text())["status"] == "finished"


def test_offline_keeps_the_films_for_wandb(real):
    run, _ = real["offline"]
    (film,) = (run / "videos").iterdir()
    (kept,) = run.glob("wandb/offline-run-*/files/media/videos/*.mp4")
    assert kept.read_bytes() == film.read_bytes()


def test_online_without_a_key_asks_nothing_warns_once_and_goes_on_offline(real):
    run, lines = real["keyless"]
    warning, line = lines
    assert warning.startswith("warning: W&B")
    assert "API key" in warning
    check_offline_files(run, line)


def test_online_without_a_server_warns_once_and_goes_on_offline(real):
    run, lines = real["unreachable"]
    warning, line = lines
    assert warning.startswith("warning: W&B")
    check_offline_files(run, line)


def test_wandb_is_imported_only_when_it_is_on(tmp_path):
    script = f"""
import sys, torch
from pathlib import Path
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.session import Session
for type, mode in [("disabled", "online"), ("wandb", "disabled")]:
    logger, environment = {{"type": type, "mode": mode}}, {{"backend": "native", "num_envs": 2}}
    recipe = Recipe.model_validate({{"logger": logger, "environment": environment}})
    runs_dir = Path({str(tmp_path)!r})
    session = Session.create(
        recipe, device=torch.device("cpu"), recipe_name="r", runs_dir=runs_dir, name=None, tell=print
    )
    with session:
        next(session.reports())
print("wandb" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "False\n", done.stderr
