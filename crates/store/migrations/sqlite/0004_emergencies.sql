-- Cases of which a rule was lifted in an emergency, and by when somebody must have reviewed it: the
-- earliest of what nobody has reviewed, NULL once everything is.

CREATE TABLE emergencies (
    request   TEXT    NOT NULL PRIMARY KEY REFERENCES cases (id),
    at        INTEGER NOT NULL,
    review_by INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX emergencies_by_time ON emergencies (at, request);
CREATE INDEX emergencies_due ON emergencies (review_by, request) WHERE review_by IS NOT NULL;

-- No guard is taken away for this: what awaits its review is not forgotten.
CREATE TRIGGER emergencies_stay BEFORE DELETE ON emergencies
WHEN OLD.review_by IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'emergency_awaits_its_review');
END;
