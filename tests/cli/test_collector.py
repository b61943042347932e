from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from mcp_gateway.cli.collector import THRESHOLDS, hold, settle

class Node:
    pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

hold()
kept, before = Node(), cycle()
young = [[number] for number in range(3 * THRESHOLDS[0])]
assert before() is not None, "a start is interrupted by the collector"
settle()
assert before() is None, "a cycle from the start was frozen instead of freed"
assert gc.isenabled() and gc.get_threshold() == THRESHOLDS
frozen = gc.get_freeze_count()
assert frozen > 1000, frozen
assert not any(found is kept for found in gc.get_objects()), "what was there is looked at again"
after = cycle()
young = [[number] for number in range(3 * THRESHOLDS[0])]
assert after() is None, "new cycles are no longer freed"
print("ok")
"""


def test_a_settled_process_frees_new_cycles_and_leaves_old_objects_alone() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert (found.stdout.strip(), found.stderr) == ("ok", "")
