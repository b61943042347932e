"""The garbage collector of a server: what was loaded at the start is looked at once, and cycles less often.

A full collection looks at every object, and most are modules, schemas and policies that stay for good: with 16 callers
each one stopped all of them for up to 80 ms. What a call makes is freed by its reference count; cycles are few.
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 20, 50)
"""New objects before a look at the youngest, and looks at each generation before one at the next."""


def hold() -> None:
    """Look at nothing while modules are loaded and schemas built: nearly all of it stays, and looking is a tenth of a start.

    For the beginning of a start-up that ends with `settle`.
    """
    gc.disable()


def settle() -> None:
    """Take what there is now out of later collections. For the end of a start-up, in a process that serves."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
