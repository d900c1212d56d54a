"""The numbers of the swing-up task (no torch here: Gymnasium users pay for none).

Each step pays (h + (1 - h) (1 + cos theta) / 2) (1 - c (x / limit)^2) - d max(cos theta, 0) theta_dot^2: 1 for a pole
that stands still over the middle of the rail, and h for one that hangs there. Without h a cart that cannot swing its
pole up would have nothing to lose at the rail's end.
"""

POSITION_LIMIT = 5.0
"""m: half the rail's length; an episode fails beyond."""
HANGING_SHARE = 0.4
"""h."""
OFF_CENTER = 0.7
"""c."""
CALM = 0.002
"""d, per (rad/s)^2."""
