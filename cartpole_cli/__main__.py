"""`cartpole`, and `python -m cartpole_cli`."""

import atexit
import gc
import os
import signal


def _start_quickly() -> None:
    """Leave out what takes long at start and end, and changes nothing.

    Imports make some 300,000 objects and no garbage: looking for some, then and at exit, costs a third. Pydantic
    would search all that is installed for plugins.
    """
    gc.set_threshold(500_000, 20, 100)
    atexit.register(gc.freeze)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def main() -> None:
    """Run the command line; Ctrl-C during its imports ends the process as the system does, without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    _start_quickly()
    from cartpole_cli.cli.app import main as run  # noqa: PLC0415  # the signal comes first

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
