-- Until when a request's grant can still be used, so that those in use are found without reading every
-- case. Empty where there is none, where it was ended, and where it is used up.

ALTER TABLE cases ADD COLUMN grant_until INTEGER
    CONSTRAINT case_grant_once_permitted CHECK (grant_until IS NULL OR permit IS NOT NULL);

CREATE INDEX cases_granting ON cases (requester, target, grant_until, id)
    WHERE grant_until IS NOT NULL;
CREATE INDEX cases_granted ON cases (grant_until, id) WHERE grant_until IS NOT NULL;
