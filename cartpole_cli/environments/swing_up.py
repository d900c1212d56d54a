"""The numbers of the swing-up task (no torch here: Gymnasium users pay for none)."""

POSITION_LIMIT = 5.0
"""m: half the rail's length."""
OFF_CENTER = 0.3
"""Share of the reward that is lost at the rail's end."""
CALM = 0.002
"""Reward lost per (rad/s)^2 of an upright pole's turning."""
