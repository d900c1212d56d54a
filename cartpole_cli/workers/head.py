"""A private Ray cluster of one node, on this machine's loopback address, that ends when its driver does.

    python -m cartpole_cli.workers.head PORT CPUS

Ray's own processes may outlive a killed driver, or one another: all of this session are ended, and their folder goes,
when standard input ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Run the node until the driver lets go of the pipe; what Ray says if it cannot start goes to standard output."""
    port, num_cpus = sys.argv[1:]
    folder = tempfile.mkdtemp(prefix="cartpole-", dir="/tmp" if Path("/tmp").is_dir() else None)  # paths of sockets
    node = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *("--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={num_cpus}"),
            *("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"),
        ],
        env=os.environ | {"TMPDIR": folder},  # of what jobs leave there
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def tell_why_it_ended() -> None:
        said, _ = node.communicate()
        with suppress(OSError):
            print(said.strip().splitlines()[-1] if said.strip() else "", flush=True)
        _end_all(folder)

    threading.Thread(target=tell_why_it_ended, daemon=True).start()
    sys.stdin.buffer.read()
    _end_all(folder)


def _end_all(folder: str) -> None:
    """All processes of this session, this one as the last; some are in no group of ours."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(path.name)) == os.getsid(0) and int(path.name) != os.getpid():
                os.kill(int(path.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
