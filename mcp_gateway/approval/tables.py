"""The tables that approvals lie in, and the queries that find them there."""

from __future__ import annotations

from mcp_gateway.audit.schema import Migration

BY_ID = "SELECT body, sealed FROM approvals WHERE id = ?"
BY_DIGEST = "SELECT body, sealed FROM approvals WHERE digest = ? ORDER BY number DESC LIMIT 1"
BY_USE = (
    "SELECT approvals.body, sealed FROM events JOIN approvals ON approvals.id = events.body ->> '$.approval_id' "
    "WHERE events.call_id = ? AND events.kind = 'Claimed'"
)
LIVE = "SELECT body, sealed FROM approvals WHERE state IN ('pending', 'approved') ORDER BY number LIMIT ?"
DUE = "SELECT body, sealed FROM approvals WHERE state IN ('pending', 'approved') AND due <= ? LIMIT ?"
PAGE = """
SELECT body, sealed FROM approvals
WHERE number > coalesce((SELECT number FROM approvals WHERE id = :after), 0)
AND (:ended OR state IN ('pending', 'approved'))
AND (:beginning IS NULL OR id >= :beginning AND id < :beginning || char(0x10ffff))
AND (
    person = :person AND (:actor IS NULL OR CAST(body AS TEXT) ->> '$.actor' = :actor)
    OR EXISTS (
        SELECT 1 FROM approval_groups AS asked
        WHERE asked.number = approvals.number AND asked.name IN (SELECT value FROM json_each(:groups))
    )
)
ORDER BY number LIMIT :limit
"""
ASKED = "SELECT kind, body FROM events WHERE call_id = ? AND kind IN ('Received', 'Examined') ORDER BY sequence"
LEFT_PENDING = "SELECT id FROM approvals WHERE id IN (SELECT value FROM json_each(?)) AND state != 'pending'"

MIGRATIONS = (
    Migration(
        name="approvals-1",
        script="""
        CREATE TABLE approvals (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            digest TEXT NOT NULL,
            state TEXT NOT NULL,
            person TEXT NOT NULL,
            due TEXT,
            body BLOB NOT NULL,
            sealed BLOB
        ) STRICT;
        CREATE INDEX approvals_by_digest ON approvals (digest, number);
        CREATE INDEX approvals_by_state ON approvals (state, due);
        """,
    ),
    # Whom an approval asks, what is live and what is a person's own is found without opening any.
    Migration(
        name="approvals-2",
        script="""
        CREATE TABLE approval_groups (
            number INTEGER NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (number, name)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO approval_groups
            SELECT DISTINCT number, asked.value ->> '$[0]'
            FROM approvals, json_each(CAST(body AS TEXT), '$.requirements') AS asked;
        CREATE INDEX approvals_live ON approvals (number) WHERE state IN ('pending', 'approved');
        CREATE INDEX approvals_by_person ON approvals (person, state, due);
        """,
    ),
)
