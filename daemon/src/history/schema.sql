-- The history, version 1. docs/history.md tells what stands in it; `sqlite3 -readonly` reads it while the daemon runs.

-- Who was at an end. `json` is the workload as /v1/interactions has it.
CREATE TABLE workload (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL,
    kind  TEXT NOT NULL,
    image TEXT,
    json  TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX workload_name ON workload (name);

-- Who talked to whom, over what, and what came of it since it was seen first, also where no minute tells of it any more.
-- `via` is empty, or `nat:PORT`; `first` and `last` are in milliseconds since 1970.
CREATE TABLE edge (
    id       INTEGER PRIMARY KEY,
    source   INTEGER NOT NULL REFERENCES workload,
    target   INTEGER NOT NULL REFERENCES workload,
    protocol TEXT NOT NULL,
    port     INTEGER NOT NULL,
    via      TEXT NOT NULL,
    flows          INTEGER NOT NULL DEFAULT 0,
    bytes_sent     INTEGER NOT NULL DEFAULT 0,
    bytes_received INTEGER NOT NULL DEFAULT 0,
    allowed        INTEGER NOT NULL DEFAULT 0,
    audited        INTEGER NOT NULL DEFAULT 0,
    denied         INTEGER NOT NULL DEFAULT 0,
    first          INTEGER NOT NULL DEFAULT 9223372036854775807,
    last           INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source, target, protocol, port, via)
) STRICT;
CREATE INDEX edge_target ON edge (target);

-- What an edge did within a minute. `minute` counts minutes since 1970, `first` and `last` milliseconds.
CREATE TABLE minute (
    minute           INTEGER NOT NULL,
    edge             INTEGER NOT NULL REFERENCES edge,
    flows            INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    bytes_sent       INTEGER NOT NULL,
    bytes_received   INTEGER NOT NULL,
    packets_sent     INTEGER NOT NULL,
    packets_received INTEGER NOT NULL,
    refused          INTEGER NOT NULL,
    unreachable      INTEGER NOT NULL,
    aborted          INTEGER NOT NULL,
    unanswered       INTEGER NOT NULL,
    allowed          INTEGER NOT NULL,
    audited          INTEGER NOT NULL,
    denied           INTEGER NOT NULL,
    first            INTEGER NOT NULL,
    last             INTEGER NOT NULL,
    PRIMARY KEY (minute, edge)
) STRICT, WITHOUT ROWID;

-- Denials, alerts and losses, as docs/events.md has them. `time` is in milliseconds since 1970.
CREATE TABLE event (
    id   INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX event_time ON event (time);

-- What has to outlive the daemon.
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- For people.
CREATE VIEW interactions AS
SELECT datetime(minute * 60, 'unixepoch') AS time, source.name AS source, target.name AS target, protocol, port, via,
       m.flows, m.attempts, m.bytes_sent, m.bytes_received,
       refused + unreachable + aborted + unanswered AS failed, m.denied, m.audited
FROM minute AS m
JOIN edge ON edge.id = m.edge
JOIN workload AS source ON source.id = edge.source
JOIN workload AS target ON target.id = edge.target;
