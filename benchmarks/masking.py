"""What masking costs: ordinary text, clean text, and text full of candidates of each class. Run: `python benchmarks/masking.py`.

For each text of 1 MiB the median of rounds, interleaved: CPU milliseconds for a MB, and the ratio to what cannot be
saved, a pass of RE2 over the same bytes that finds nothing (`floor`). What is found costs, not what is there: some
microseconds for each place where a value could be. Trust the ratios.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from mcp_gateway.calls import Secret
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import resolve
from mcp_gateway.masking.folding import UNANCHORED, compiled
from mcp_gateway.masking.masker import CallMasker, masker_for

ROUNDS = 5
SIZE = 1 << 20
FLOOR = compiled(rb"(?:\b|_)\x00[a-z]{5,40}").Match
"""An automaton that looks at each byte and each edge and matches nothing in these texts."""
WORDS = b"the order was shipped to warehouse seven on monday and nobody noticed anything wrong with its status".split()

RANDOM = random.Random(20)


def address() -> bytes:
    return b"%d.%d.%d.%d" % tuple(RANDOM.randrange(256) for _ in range(4))


def log_line() -> bytes:
    return (
        b"2026-01-%02d 12:%02d:%02d INFO request id=%d took %dms user=bob%d@example.com from %s path=/v1/orders/%d 200\n"
        % (
            RANDOM.randrange(1, 28),
            RANDOM.randrange(60),
            RANDOM.randrange(60),
            RANDOM.randrange(10**6),
            RANDOM.randrange(999),
            RANDOM.randrange(99),
            address(),
            RANDOM.randrange(10**5),
        )
    )


TEXTS: dict[str, Callable[[], bytes]] = {
    "words (nothing in it)": lambda: RANDOM.choice(WORDS) + b" ",
    "JSON (nothing in it)": lambda: b'{"name":"x","id":%d,"at":"2026-01-01T00:00:00Z"},' % RANDOM.randrange(10**5),
    "numbers with fractions": lambda: b"%.6f," % RANDOM.random(),
    "hexadecimal": lambda: b"%032x " % RANDOM.getrandbits(128),
    "log (two values a line)": log_line,
    "dense: addresses": lambda: address() + b" ",
    "dense: mail addresses": lambda: b"bob%d@example.com " % RANDOM.randrange(99),
    "dense: cards": lambda: b"4111111111111111 ",
    "dense: no cards (check digit)": lambda: b"4111111111111112 ",
    "dense: telephone numbers": lambda: b"+49 30 %07d " % RANDOM.randrange(10**7),
    "dense: passwords": lambda: b"password=hunter%d " % RANDOM.randrange(10**4),
    "dense: the shortest candidates": lambda: b"::1 ",
    "dense: invisible characters": "a\u200b".encode,
    "dense: escapes": lambda: b"%41",
}


def text_of(piece: Callable[[], bytes]) -> bytes:
    """A text of one kind of piece."""
    pieces, size = [], 0
    while size < SIZE:
        pieces.append(piece())
        size += len(pieces[-1])
    return b"".join(pieces)[:SIZE]


def masker() -> CallMasker:
    return masker_for(
        revealed=frozenset(),
        all_classes=frozenset(BUILT_IN),
        styles={},
        detectors=resolve(("default",)),
        secrets=[Secret(b"s3cr3t-of-the-target")],
        hash_key=bytes(32),
    )


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def main() -> None:
    """Measure and print."""
    texts = {name: text_of(piece) for name, piece in TEXTS.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in texts}
    found: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, text in texts.items():
            one = masker()
            floor = cpu(lambda text=text: [FLOOR(UNANCHORED, text, 0, len(text)) for _ in range(4)]) / 4  # type: ignore[misc]
            times[name].append((cpu(lambda text=text, one=one: one.raw(text)), floor))  # type: ignore[misc]
            found[name] = sum(one.counts.values())
    print(f"{'text':34}{'ms/MB':>9}{'x floor':>9}{'values':>9}")
    for name, measured in times.items():
        spent = statistics.median(took for took, _ in measured)
        ratio = statistics.median(took / floor for took, floor in measured if floor)
        print(f"{name:34}{spent * 1e6 / SIZE:9.1f}{ratio:9.1f}{found[name]:9,}")


if __name__ == "__main__":
    main()
