"""The kinds of inference: ways in which a statement tells about data although the data stays masked.

`masking.lineage` finds them, `calls.SQLFacts` carries them, policies name them as `Inference::"where_range"`. A kind
that is added here is one that no policy allows yet.
"""

from __future__ import annotations

KINDS = (
    "condition",
    "count_distinct",
    "distinct",
    "group",
    "having",
    "join",
    "limit",
    "may_fail",
    "null_test",
    "order",
    "rows",
    "test",
    "where",
    "where_equality",
    "where_pattern",
    "where_range",
    "window",
)
