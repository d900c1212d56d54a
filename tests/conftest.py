"""Before torch is imported: one thread a process, as several of them share the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
