-- The roster in SQLite: the tables of PostgreSQL in SQLite's types. Ids are 16
-- bytes, times are microseconds since the Unix epoch.

CREATE TABLE IF NOT EXISTS conversations (
    id              BLOB PRIMARY KEY,
    type            TEXT NOT NULL,
    name            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    members_version INTEGER NOT NULL,
    name_version    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS conversation_members (
    conversation_id BLOB NOT NULL REFERENCES conversations(id),
    user_id         BLOB NOT NULL,
    role            TEXT NOT NULL,
    joined_at       INTEGER NOT NULL,
    last_read_at    INTEGER,
    PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS idx_user_conversations ON conversation_members(user_id);

CREATE TABLE IF NOT EXISTS roster_progress (
    generation      INTEGER NOT NULL,
    partition       INTEGER NOT NULL,
    accepted_offset INTEGER NOT NULL,
    inbound_offset  INTEGER NOT NULL,
    PRIMARY KEY (generation, partition)
) WITHOUT ROWID;
