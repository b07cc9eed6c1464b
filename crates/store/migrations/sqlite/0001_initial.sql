-- The first schema. Every rule of the types that SQL can say is said again here, so that neither a
-- bug nor an edit by hand can store what the types could not hold.

CREATE TABLE cases (
    id           TEXT    NOT NULL PRIMARY KEY,
    version      INTEGER NOT NULL,
    phase        TEXT    NOT NULL,
    attach_key   BLOB    NOT NULL,
    digest       BLOB    NOT NULL,
    requester    TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    deadline     INTEGER,
    refuse_until INTEGER,
    permit       TEXT,
    title        TEXT    NOT NULL,
    reason       TEXT,
    -- Title, reason and requester in lower case, for text search.
    folded       TEXT    NOT NULL,
    -- JSON arrays of people, kept here so that one statement writes a case; triggers copy them to
    -- `case_people` and hold `votes` to them.
    people       TEXT    NOT NULL,
    voters       TEXT    NOT NULL,
    -- The whole case as JSON; last, so that lists need not read past it.
    body         BLOB    NOT NULL,

    CONSTRAINT case_id_has_text CHECK (length(id) BETWEEN 1 AND 200),
    CONSTRAINT case_version_counts CHECK (version >= 0),
    CONSTRAINT case_attach_key_is_a_hash CHECK (length(attach_key) = 32),
    CONSTRAINT case_digest_is_a_hash CHECK (length(digest) = 32),
    CONSTRAINT case_requester_has_a_kind CHECK (
        substr(requester, 1, 7) = 'person:'
        OR substr(requester, 1, 6) = 'agent:'
        OR substr(requester, 1, 9) = 'workload:'
    ),
    CONSTRAINT case_phase_is_known CHECK (phase IN (
        'held', 'approved', 'running', 'succeeded', 'failed', 'unknown', 'denied', 'expired',
        'unclaimed', 'cancelled', 'amended', 'unreachable', 'policy_changed', 'requester_stopped'
    )),
    CONSTRAINT case_deadline_while_open CHECK (
        (phase IN ('held', 'approved')) = (deadline IS NOT NULL)
    ),
    CONSTRAINT case_permit_once_running CHECK (
        (phase IN ('running', 'succeeded', 'failed', 'unknown')) = (permit IS NOT NULL)
    ),
    CONSTRAINT case_refuse_until_once_closed CHECK (
        (phase IN ('denied', 'expired', 'unclaimed', 'cancelled', 'amended', 'unreachable',
                   'policy_changed', 'requester_stopped')) = (refuse_until IS NOT NULL)
    ),
    -- Deferred, because one commit brings the running case and its permit in either order.
    FOREIGN KEY (permit, id) REFERENCES permits (id, request) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE UNIQUE INDEX cases_one_open_per_key ON cases (attach_key)
    WHERE phase IN ('held', 'approved', 'running');
CREATE INDEX cases_refusing ON cases (attach_key, refuse_until, id) WHERE refuse_until IS NOT NULL;
CREATE INDEX cases_denied ON cases (requester, target, refuse_until) WHERE phase = 'denied';
CREATE INDEX cases_due ON cases (deadline, id) WHERE deadline IS NOT NULL;
CREATE INDEX cases_open_by_requester ON cases (requester) WHERE deadline IS NOT NULL;
CREATE INDEX cases_by_time ON cases (at, id);
CREATE INDEX cases_by_phase ON cases (phase, at, id);
CREATE INDEX cases_by_requester ON cases (requester, at, id);
CREATE INDEX cases_by_target ON cases (target, at, id);

CREATE TRIGGER cases_begin BEFORE INSERT ON cases
WHEN NEW.version <> 0
BEGIN
    SELECT RAISE(ABORT, 'case_begins_at_version_0');
END;

CREATE TRIGGER cases_step BEFORE UPDATE ON cases
BEGIN
    SELECT CASE
        WHEN NEW.id <> OLD.id OR NEW.attach_key <> OLD.attach_key OR NEW.digest <> OLD.digest
             OR NEW.requester <> OLD.requester OR NEW.target <> OLD.target OR NEW.at <> OLD.at
             OR NEW.title <> OLD.title OR NEW.reason IS NOT OLD.reason
             OR NEW.folded <> OLD.folded OR NEW.people <> OLD.people
            THEN RAISE(ABORT, 'case_request_is_fixed')
        WHEN NEW.version <> OLD.version + 1
            THEN RAISE(ABORT, 'case_version_counts_by_1')
        WHEN NOT (
            NEW.phase = OLD.phase
            OR (OLD.phase = 'held'
                AND NEW.phase NOT IN ('running', 'succeeded', 'failed', 'unknown'))
            OR (OLD.phase = 'approved'
                AND NEW.phase NOT IN ('succeeded', 'failed', 'unknown'))
            OR (OLD.phase = 'running' AND NEW.phase IN ('succeeded', 'failed', 'unknown'))
        )
            THEN RAISE(ABORT, 'case_phase_moves_forward')
        WHEN OLD.permit IS NOT NULL AND NEW.permit IS NOT OLD.permit
            THEN RAISE(ABORT, 'case_permit_is_fixed')
    END;
END;

CREATE TRIGGER cases_stay BEFORE DELETE ON cases
BEGIN
    SELECT RAISE(ABORT, 'case_stays');
END;

-- Whose side a request is on: the people in its chain and the owners of its machines. The time is
-- repeated so that one person's requests can be read in order.
CREATE TABLE case_people (
    person  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    request TEXT    NOT NULL REFERENCES cases (id),
    PRIMARY KEY (person, at, request)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER cases_have_people AFTER INSERT ON cases
BEGIN
    INSERT INTO case_people (person, at, request)
    SELECT value, NEW.at, NEW.id FROM json_each(NEW.people);
END;

CREATE TABLE votes (
    seq      INTEGER NOT NULL PRIMARY KEY,
    request  TEXT    NOT NULL REFERENCES cases (id),
    voter    TEXT    NOT NULL,
    envelope BLOB    NOT NULL,
    CONSTRAINT one_vote_a_person UNIQUE (request, voter)
) STRICT;

CREATE TRIGGER votes_begin BEFORE INSERT ON votes
WHEN NEW.voter NOT IN (
    SELECT value FROM json_each((SELECT voters FROM cases WHERE id = NEW.request))
)
BEGIN
    SELECT RAISE(ABORT, 'envelope_has_its_vote');
END;

-- The envelope of a vote that was withdrawn goes with it.
CREATE TRIGGER votes_end AFTER UPDATE ON cases
WHEN NEW.voters <> OLD.voters
BEGIN
    DELETE FROM votes
    WHERE request = NEW.id AND voter NOT IN (SELECT value FROM json_each(NEW.voters));
END;

CREATE TRIGGER votes_fixed BEFORE UPDATE ON votes
BEGIN
    SELECT RAISE(ABORT, 'vote_is_fixed');
END;

CREATE TABLE permits (
    id      TEXT    NOT NULL PRIMARY KEY,
    request TEXT    NOT NULL REFERENCES cases (id) DEFERRABLE INITIALLY DEFERRED,
    at      INTEGER NOT NULL,
    CONSTRAINT one_permit_a_request UNIQUE (request),
    -- What the foreign key of `cases` points at.
    UNIQUE (id, request)
) STRICT;

CREATE TRIGGER permits_fixed BEFORE UPDATE ON permits
BEGIN
    SELECT RAISE(ABORT, 'permit_is_fixed');
END;

CREATE TRIGGER permits_stay BEFORE DELETE ON permits
BEGIN
    SELECT RAISE(ABORT, 'permit_stays');
END;

-- AUTOINCREMENT, because a number must not come again after its record was acknowledged.
CREATE TABLE outbox (
    seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    record BLOB    NOT NULL
) STRICT;

CREATE TRIGGER outbox_fixed BEFORE UPDATE ON outbox
BEGIN
    SELECT RAISE(ABORT, 'record_is_fixed');
END;

CREATE TABLE bundles (
    seq       INTEGER NOT NULL PRIMARY KEY,
    hash      BLOB    NOT NULL,
    activated INTEGER NOT NULL,
    request   TEXT,
    active    INTEGER NOT NULL,
    files     TEXT    NOT NULL,
    directory TEXT    NOT NULL,
    CONSTRAINT bundle_hash_is_a_hash CHECK (length(hash) = 32),
    CONSTRAINT bundle_active_is_yes_or_no CHECK (active IN (0, 1))
) STRICT;

CREATE UNIQUE INDEX bundles_one_active ON bundles (active) WHERE active = 1;

CREATE TRIGGER bundles_fixed BEFORE UPDATE ON bundles
WHEN NEW.active <> 0 OR NEW.hash <> OLD.hash OR NEW.activated <> OLD.activated
     OR NEW.request IS NOT OLD.request OR NEW.files <> OLD.files
     OR NEW.directory <> OLD.directory
BEGIN
    SELECT RAISE(ABORT, 'bundle_is_fixed');
END;

CREATE TABLE directory_changes (
    seq           INTEGER NOT NULL PRIMARY KEY,
    change        TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    countersigned INTEGER NOT NULL,
    CONSTRAINT change_countersigned_is_yes_or_no CHECK (countersigned IN (0, 1))
) STRICT;

CREATE TABLE credentials (
    id        TEXT    NOT NULL PRIMARY KEY,
    kind      TEXT    NOT NULL,
    secret    BLOB    NOT NULL UNIQUE,
    holder    TEXT    NOT NULL,
    issued_by TEXT,
    parent    TEXT REFERENCES credentials (id) DEFERRABLE INITIALLY DEFERRED,
    issued    INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    used      INTEGER,
    revoked   INTEGER,
    -- Whether that was because its holder was stopped.
    revoked_with_holder INTEGER NOT NULL,
    extra     TEXT    NOT NULL,
    CONSTRAINT credential_kind_is_known CHECK (kind IN ('link', 'session', 'token', 'passkey', 'account')),
    CONSTRAINT credential_secret_is_a_hash CHECK (length(secret) = 32),
    CONSTRAINT credential_holder_has_a_kind CHECK (
        substr(holder, 1, 7) = 'person:'
        OR substr(holder, 1, 6) = 'agent:'
        OR substr(holder, 1, 9) = 'workload:'
    ),
    CONSTRAINT session_is_a_persons CHECK (
        kind NOT IN ('session', 'passkey', 'account') OR substr(holder, 1, 7) = 'person:'
    ),
    CONSTRAINT only_links_are_used CHECK (kind = 'link' OR used IS NULL),
    CONSTRAINT holders_take_what_is_revoked CHECK (
        revoked_with_holder = 0 OR (revoked_with_holder = 1 AND revoked IS NOT NULL)
    )
) STRICT;

CREATE INDEX credentials_by_holder ON credentials (holder, issued, id);
CREATE INDEX credentials_by_time ON credentials (issued, id);
CREATE INDEX credentials_by_parent ON credentials (parent) WHERE parent IS NOT NULL;

-- Otherwise a child made just after its parent's revocation would outlive it.
CREATE TRIGGER credentials_begin BEFORE INSERT ON credentials
WHEN EXISTS (SELECT 1 FROM credentials WHERE id = NEW.parent AND revoked IS NOT NULL)
BEGIN
    SELECT RAISE(ABORT, 'credential_parent_is_revoked');
END;

CREATE TRIGGER credentials_step BEFORE UPDATE ON credentials
BEGIN
    SELECT CASE
        WHEN NEW.id <> OLD.id OR NEW.kind <> OLD.kind OR NEW.secret <> OLD.secret
             OR NEW.holder <> OLD.holder OR NEW.issued_by IS NOT OLD.issued_by
             OR NEW.parent IS NOT OLD.parent OR NEW.issued <> OLD.issued
             OR NEW.expires <> OLD.expires OR NEW.extra <> OLD.extra
            THEN RAISE(ABORT, 'credential_is_fixed')
        WHEN OLD.used IS NOT NULL AND NEW.used IS NOT OLD.used
            THEN RAISE(ABORT, 'link_is_used_once')
        WHEN OLD.revoked IS NOT NULL
             AND (NEW.revoked IS NOT OLD.revoked
                  OR NEW.revoked_with_holder <> OLD.revoked_with_holder)
            THEN RAISE(ABORT, 'revocation_stays')
    END;
END;

CREATE TRIGGER credentials_stay BEFORE DELETE ON credentials
BEGIN
    SELECT RAISE(ABORT, 'credential_stays');
END;

-- What channels show of requests, and where.
CREATE TABLE cards (
    channel TEXT    NOT NULL,
    request TEXT    NOT NULL REFERENCES cases (id),
    place   TEXT    NOT NULL,
    message TEXT,
    shown   BLOB,
    done    INTEGER NOT NULL,
    PRIMARY KEY (request, channel, place),
    CONSTRAINT card_shown_is_a_hash CHECK (shown IS NULL OR length(shown) = 32),
    CONSTRAINT card_done_is_yes_or_no CHECK (done IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX cards_changing ON cards (channel, request) WHERE done = 0;
CREATE INDEX cards_by_message ON cards (channel, message, request) WHERE message IS NOT NULL;

CREATE TABLE unknown_actions (
    attach_key BLOB    NOT NULL PRIMARY KEY,
    request    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    CONSTRAINT unknown_key_is_a_hash CHECK (length(attach_key) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    subject TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    body    BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    answer  BLOB    NOT NULL,
    CONSTRAINT one_answer_a_key PRIMARY KEY (subject, key),
    CONSTRAINT idempotency_body_is_a_hash CHECK (length(body) = 32)
) STRICT;

CREATE INDEX idempotency_by_time ON idempotency (at);
