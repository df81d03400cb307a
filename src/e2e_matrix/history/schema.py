"""The tables of the history, and how an older file becomes a current one.

The first step makes an empty file one of version 1; each one after it makes a file of version n one of
version n + 1. A step that was released is never changed.
"""

from __future__ import annotations

APPLICATION = 0x65326D78  # "e2mx", in the file's header: whose database it is

_CELL_COLUMNS = """
    run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    cell TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    outcome TEXT NOT NULL,
    flaky INTEGER NOT NULL,
    reused INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    platform TEXT NOT NULL,
    scenario TEXT NOT NULL,
    scenario_version TEXT,
    key TEXT,
    axes TEXT NOT NULL,
    digest TEXT,
    server_version TEXT,
    message TEXT,
    cost TEXT,
    tokens INTEGER,
    duration REAL NOT NULL,
    pull REAL,
    boot REAL,
    init REAL,
    first_token REAL,
    conversation REAL,
    removal REAL,
    memory INTEGER,
    size INTEGER
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION}",
        """
        CREATE TABLE runs (
            id TEXT PRIMARY KEY,
            started_at TEXT NOT NULL,
            finished_at TEXT NOT NULL,
            duration REAL NOT NULL,
            subject TEXT NOT NULL,
            verdict TEXT NOT NULL,
            model TEXT NOT NULL,
            cells INTEGER NOT NULL,
            passed INTEGER NOT NULL,
            failed INTEGER NOT NULL,
            error INTEGER NOT NULL,
            unsupported INTEGER NOT NULL,
            cancelled INTEGER NOT NULL,
            not_run INTEGER NOT NULL,
            flaky INTEGER NOT NULL,
            reused INTEGER NOT NULL,
            cost TEXT,
            sha256 TEXT NOT NULL  -- of the results.json that it was read from
        ) STRICT, WITHOUT ROWID
        """,
        f"CREATE TABLE cells ({_CELL_COLUMNS}, PRIMARY KEY (run, cell)) STRICT",
        # Where results.json files were seen on this machine, and what tells that one was read already.
        """
        CREATE TABLE places (
            folder TEXT PRIMARY KEY,
            run TEXT NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX runs_by_time ON runs (started_at, id)",
        "CREATE INDEX cells_by_time ON cells (cell, started_at, run)",
        "CREATE INDEX cells_by_key ON cells (key, finished_at) WHERE key IS NOT NULL AND outcome = 'passed'",
        "CREATE INDEX places_by_run ON places (run)",
    ),
    (
        "ALTER TABLE runs ADD COLUMN read_by INTEGER NOT NULL DEFAULT 1",  # the version that made its rows
        "ALTER TABLE cells ADD COLUMN mixed INTEGER NOT NULL DEFAULT 0",
    ),
    (
        # Of a key the newest verdict counts, and that may be a failure.
        "CREATE INDEX verdicts_by_key ON cells (key, finished_at) WHERE key IS NOT NULL",
        "DROP INDEX cells_by_key",
    ),
    (
        "ALTER TABLE cells ADD COLUMN model TEXT NOT NULL DEFAULT ''",
        "UPDATE cells SET model = (SELECT model FROM runs WHERE id = run)",
    ),
)
