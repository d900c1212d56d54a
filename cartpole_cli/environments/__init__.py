"""The task: our simulator, Gymnasium's environments, and ours registered with Gymnasium on import."""

from cartpole_cli.environments import registration as _registration

__all__: list[str] = []

_registration.register()
