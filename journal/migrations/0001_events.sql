-- The journal is a log of events that only grows: one row an event, numbered without a gap within an epoch and
-- chained by hash. `operations` is what the events add up to, kept so that listing never decodes a log; it can be
-- rebuilt from the events at any time.
CREATE TABLE epochs (
  n          INTEGER PRIMARY KEY,
  epoch      BLOB NOT NULL UNIQUE,   -- random UUID: a new one when the journal finds itself on another machine
  device     BLOB NOT NULL,          -- random UUID, kept over epochs of the same machine
  machine    BLOB NOT NULL,          -- hash of the machine's id, empty where it has none
  started_at INTEGER NOT NULL        -- Unix time in nanoseconds, as all times here
) STRICT;

CREATE TABLE events (
  n     INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL REFERENCES epochs(n),
  seq   INTEGER NOT NULL,            -- 1, 2, 3, ... within the epoch
  id    BLOB NOT NULL,               -- UUIDv7
  op    BLOB NOT NULL,               -- UUID of the operation
  kind  TEXT NOT NULL,
  at    INTEGER NOT NULL,
  sha   BLOB NOT NULL,               -- SHA-256 of the event, body included
  chain BLOB NOT NULL,               -- SHA-256 of the chain so far and sha
  body  BLOB,                        -- NULL once pruned: sha and chain stay and still verify
  UNIQUE (epoch, seq)
) STRICT;
CREATE INDEX events_of_op ON events (op, n);

CREATE TABLE operations (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid        BLOB NOT NULL UNIQUE,
  kind        TEXT NOT NULL,
  status      TEXT NOT NULL,
  root        TEXT NOT NULL,
  command     TEXT NOT NULL,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL DEFAULT 0,
  planned     INTEGER NOT NULL DEFAULT 0,
  moved       INTEGER NOT NULL DEFAULT 0,
  skipped     INTEGER NOT NULL DEFAULT 0,
  failed      INTEGER NOT NULL DEFAULT 0,
  bytes       INTEGER NOT NULL DEFAULT 0,
  undoes      INTEGER NOT NULL DEFAULT 0,  -- the operation that this undo or redo is about
  undone_by   INTEGER NOT NULL DEFAULT 0,
  pruned      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX operations_undoes ON operations (undoes) WHERE undoes <> 0;
CREATE INDEX operations_running ON operations (id) WHERE status = 'running';
