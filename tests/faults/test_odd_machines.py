"""Machines that lack what others have: a home, a terminal, a wide one, room, the right to write."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, captured, in_terminal, plain
from damage import check_undamaged, files_in, train

import cartpole_cli

ENVIRONMENT = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
EVERYTHING = (
    ("train", "--recipe", "tiny.toml", "--name", "run"),
    ("best",),
    ("eval", "run", "--episodes", "2"),
    ("export", "run"),
    ("plot", "run"),
)
ONE_AFTER_THE_OTHER = """
import runpy, shlex, sys
for line in sys.argv[1:]:
    sys.argv = ["cartpole", *shlex.split(line)]
    try:
        runpy.run_module("cartpole_cli", run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, (line, ended.code)
    else:
        raise AssertionError(f"{line}: no end")
"""
ALL_IN_A_PROCESS = [sys.executable, "-c", ONE_AFTER_THE_OTHER, *map(shlex.join, EVERYTHING)]
WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
is_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may")


def test_no_home_and_no_streams_to_read_or_write():
    with Path(os.devnull).open("r+b") as nothing:
        streams = {"stdin": nothing, "stdout": nothing, "stderr": subprocess.PIPE}
        done = subprocess.run(ALL_IN_A_PROCESS, env=ENVIRONMENT, check=False, **streams)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert {"best.pth", "best.onnx", "evaluation.json"} <= {path.name for path in Path("runs/run").iterdir()}


@pytest.mark.parametrize("arguments", EVERYTHING, ids=lambda words: words[0])
def test_a_terminal_of_40_columns(arguments, capsys):
    if arguments[0] != "train":
        train(capsys, "--name", "run")
    code, received = in_terminal(40, *arguments)
    assert code == 0
    assert "Traceback" not in received
    assert plain(received).strip()


@is_root
def test_a_package_that_cannot_be_written_to(tmp_path):
    site, home = tmp_path / "site", tmp_path / "home"
    root = Path(cartpole_cli.__file__).parent
    shutil.copytree(root, site / "cartpole_cli", ignore=shutil.ignore_patterns("__pycache__"))
    if not (site / "cartpole_cli" / "recipes").exists():
        shutil.copytree(root.parent / "recipes", site / "recipes")
    before = files_in(site)
    subprocess.run(["chmod", "-R", "a-w", site], check=True)
    home.mkdir()
    environment = ENVIRONMENT | {"PYTHONPATH": str(site), "HOME": str(home)}
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    confined = ["unshare", "-m", "sh", "-c", mount, str(site)]
    if subprocess.run([*confined, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mounts here")
    done = subprocess.run([*confined, *ALL_IN_A_PROCESS], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert files_in(site) == before


@is_root
def test_a_disk_of_its_own_that_fills_up_and_one_that_cannot_be_written(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", disk], check=False).returncode:
        pytest.skip("no mounts here")
    script = 'mount -t tmpfs -o size=64k none "$0" && "$@"; code=$?; cp -r "$0" copy; exit $code'
    arguments = ("train", "--recipe", "tiny.toml", "--name", "run", "--runs-dir", str(disk), "trainer.save_every=1")
    words = ["unshare", "-m", "sh", "-c", script, str(disk), *COMMAND, *arguments, "trainer.num_steps=3200"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert re.fullmatch(r"error: \S+: cannot be written \(No space left on device\)\n", done.stderr), done
    check_undamaged(Path("copy"))
    assert list(Path("copy").rglob("best.pth"))
    script = 'mount -t tmpfs -o ro none "$0" && "$@"'
    words = ["unshare", "-m", "sh", "-c", script, str(disk), *COMMAND, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert re.fullmatch(r"error: .*\(Read-only file system\)\n", done.stderr), done


def test_every_name_is_one_that_windows_takes(capsys):
    assert train(capsys, "trainer.render_every=2").code == 0
    assert train(capsys, "--seeds", "2", "logger.type=wandb", "logger.mode=offline").code == 0
    (solo,) = (folder for folder in Path("runs").iterdir() if not (folder / "study.json").exists())
    assert captured(capsys, "export", solo).code == 0
    assert captured(capsys, "plot", solo, "--output", "curves.svg").code == 0
    paths = list(Path().rglob("*"))
    assert len(paths) > 20
    for path in paths:
        assert not re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]\Z', path.name), path
        assert not WINDOWS_DEVICE.fullmatch(path.name), path
        assert len(path.name) < 100, path
