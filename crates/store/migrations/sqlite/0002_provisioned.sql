-- What a provider provisions: users, groups, who is in which, and people who had to go. One row each, so
-- that a change writes what it changes.

CREATE TABLE provisioned (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    CONSTRAINT provisioned_is_of_a_kind CHECK (
        substr(key, 1, 5) = 'user/'
        OR substr(key, 1, 6) = 'group/'
        OR substr(key, 1, 7) = 'member/'
        OR substr(key, 1, 9) = 'departed/'
    ),
    CONSTRAINT provisioned_is_json CHECK (json_valid(value))
) STRICT, WITHOUT ROWID;
