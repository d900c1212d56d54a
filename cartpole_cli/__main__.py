"""`cartpole`, and `python -m cartpole_cli`."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C during its imports ends the process as the system does, without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cartpole_cli.cli.app import main as run  # noqa: PLC0415  # the signal comes first

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
