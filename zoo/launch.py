"""How this process was started: alone, or by torchrun as one of several that fit one model together."""

from __future__ import annotations

import os


def several() -> bool:
    """Whether torchrun started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def rank() -> int:
    """Which of the processes this is; 0 is also the one that is alone."""
    return int(os.environ.get("RANK", 0)) if several() else 0


def first() -> bool:
    """Whether this process prints and writes."""
    return rank() == 0
