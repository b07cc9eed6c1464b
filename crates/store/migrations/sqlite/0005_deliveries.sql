-- What others asked of a gate and are answered later, each once: a row from before anything is decided
-- until long after it was answered, so that asking again asks nothing twice.

CREATE TABLE deliveries (
    gate  TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    state TEXT    NOT NULL,
    done  INTEGER NOT NULL,
    PRIMARY KEY (gate, key),
    CONSTRAINT delivery_done_is_yes_or_no CHECK (done IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_owed ON deliveries (gate, at) WHERE done = 0;
CREATE INDEX deliveries_by_time ON deliveries (at) WHERE done = 1;

CREATE TRIGGER deliveries_stay_done BEFORE UPDATE ON deliveries
WHEN OLD.done = 1
BEGIN
    SELECT RAISE(ABORT, 'delivery_was_answered');
END;
