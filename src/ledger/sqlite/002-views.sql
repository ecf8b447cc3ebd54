-- For people: times that can be read, and the newest first.
CREATE VIEW history AS
SELECT strftime('%Y-%m-%d %H:%M:%S', updated_ms / 1000, 'unixepoch') AS at,
       state, source, name, attempt, code, path, zip_bytes, entries, unpacked_bytes,
       (settled_ms - claimed_ms) / 1000.0 AS seconds, job
  FROM jobs
 ORDER BY updated_ms DESC;

CREATE VIEW attempt_history AS
SELECT strftime('%Y-%m-%d %H:%M:%S', COALESCE(ended_ms, begun_ms) / 1000, 'unixepoch') AS at,
       jobs.source, jobs.name, attempts.attempt, attempts.outcome, attempts.code, attempts.why,
       (planned_ms - begun_ms) / 1000.0 AS planned_after,
       (unpacked_ms - begun_ms) / 1000.0 AS unpacked_after,
       (ended_ms - begun_ms) / 1000.0 AS ended_after,
       job
  FROM attempts JOIN jobs USING (job)
 ORDER BY COALESCE(ended_ms, begun_ms) DESC;

CREATE VIEW reasons AS
SELECT code, state, COUNT(*) AS jobs,
       strftime('%Y-%m-%d %H:%M:%S', MAX(updated_ms) / 1000, 'unixepoch') AS last
  FROM jobs
 WHERE code IS NOT NULL
 GROUP BY code, state
 ORDER BY jobs DESC;
