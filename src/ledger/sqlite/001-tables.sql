-- One row for each package that was claimed. All times are ms since 1970-01-01, UTC.
CREATE TABLE jobs (
    job           TEXT    NOT NULL PRIMARY KEY,  -- ULID: sorts by the time of its making
    node          TEXT    NOT NULL,              -- the node that worked on it
    source        TEXT    NOT NULL,
    name          TEXT    NOT NULL,              -- the package's, as delivered
    state         TEXT    NOT NULL,              -- extracting, processing, archiving, retrying, archived, quarantined, discarded, vanished
    attempt       INTEGER NOT NULL,              -- the latest, from 1
    code          TEXT,                          -- of the error, while quarantined, discarded or retrying
    why           TEXT,                          -- that error with its causes
    path          TEXT,                          -- its final place
    zip_bytes     INTEGER,                       -- size of the ZIP
    digest        TEXT,                          -- BLAKE3 of its entries' names, sizes and CRCs
    hash          TEXT,                          -- BLAKE3 of the whole ZIP, where hash = true
    entries       INTEGER,
    unpacked_bytes INTEGER,
    charset       TEXT,                          -- what its names were decoded with
    notes         TEXT,                          -- JSON: [["key","value"], ...]
    claimed_ms    INTEGER,
    settled_ms    INTEGER,
    updated_ms    INTEGER NOT NULL
) STRICT;

CREATE INDEX jobs_by_name  ON jobs (name, job);
CREATE INDEX jobs_by_state ON jobs (state, job);
CREATE INDEX jobs_by_code  ON jobs (code, job) WHERE code IS NOT NULL;
CREATE INDEX jobs_by_time  ON jobs (updated_ms);
-- What a name that comes again is compared with.
CREATE INDEX jobs_archived ON jobs (source, name, job) WHERE state = 'archived';

-- One row for each attempt at a job.
CREATE TABLE attempts (
    job         TEXT    NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,                -- from 1
    begun_ms    INTEGER,
    planned_ms  INTEGER,
    unpacked_ms INTEGER,
    ended_ms    INTEGER,
    outcome     TEXT,                            -- archived, quarantined, discarded, vanished, retry, wait
    code        TEXT,
    why         TEXT,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
