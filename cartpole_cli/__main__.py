"""`python -m cartpole_cli`."""

from cartpole_cli.cli.app import main

main()
