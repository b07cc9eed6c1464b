-- Denials by every member of the chain that was denied, so that nobody has somebody else ask again for it.
-- The rows of a case are written with its denial and stay as they are.

CREATE TABLE denials (
    member       TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    refuse_until INTEGER NOT NULL,
    request      TEXT    NOT NULL REFERENCES cases (id),
    PRIMARY KEY (member, target, refuse_until, request)
) STRICT, WITHOUT ROWID;

-- What was denied before is known by its requester.
INSERT INTO denials (member, target, refuse_until, request)
SELECT requester, target, refuse_until, id FROM cases WHERE phase = 'denied';

DROP INDEX cases_denied;

CREATE INDEX denials_by_request ON denials (request);

CREATE TRIGGER denials_fixed BEFORE UPDATE ON denials
BEGIN
    SELECT RAISE(ABORT, 'denial_is_fixed');
END;
