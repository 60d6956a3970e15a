-- The roster in PostgreSQL: who is in which conversation now, a projection of
-- the accepted log. Operators may read it as they like, and add indexes and views
-- of their own; only the projection writes.
--
-- Times are UTC, as instants: with a plain TIMESTAMP, comparing with now() would
-- depend on the session's time zone. A name that contains U+0000, which this
-- type cannot hold, has U+2400 in its place.

CREATE TABLE IF NOT EXISTS conversations (
    id              UUID,
    type            VARCHAR(20) NOT NULL,  -- direct, group
    name            VARCHAR(255) NOT NULL, -- '' for none; direct conversations have none
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,  -- the last change of name, members or roles; not messages
    members_version BIGINT NOT NULL,       -- seq of the newest event that is in conversation_members
    name_version    BIGINT NOT NULL,       -- seq of the newest event that is in name
    PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS conversation_members (
    conversation_id UUID REFERENCES conversations(id) ON DELETE CASCADE,
    user_id         UUID,
    role            VARCHAR(20) NOT NULL,  -- admin, member
    joined_at       TIMESTAMPTZ NOT NULL,  -- when the present stay began
    last_read_at    TIMESTAMPTZ,           -- NULL: not told
    PRIMARY KEY (conversation_id, user_id)
);

-- What a user is in; whom a user knows.
CREATE INDEX IF NOT EXISTS idx_user_conversations ON conversation_members(user_id);

-- What was created or changed lately.
CREATE INDEX IF NOT EXISTS idx_conversations_updated ON conversations(updated_at);

-- A group by the beginning of its name, in any case.
CREATE INDEX IF NOT EXISTS idx_conversations_name ON conversations(lower(name) text_pattern_ops) WHERE name <> '';

-- How far each partition of the accepted log was applied.
CREATE TABLE IF NOT EXISTS roster_progress (
    generation      BIGINT,
    partition       INTEGER,
    accepted_offset BIGINT NOT NULL,       -- of the record to read next
    inbound_offset  BIGINT NOT NULL,       -- of the newest outcome applied
    PRIMARY KEY (generation, partition)
);

-- Which devices are notified while their people are away. REST writes it, the
-- router reads it and removes devices that are gone.
CREATE TABLE IF NOT EXISTS push_devices (
    user_id    UUID,
    device_id  TEXT,
    kind       TEXT NOT NULL,              -- web_push, webhook
    address    TEXT NOT NULL,              -- an endpoint of Web Push, or a token
    settings   TEXT NOT NULL,              -- JSON
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Whose an address is: it belongs to one device. Addresses are long, so it is a hash.
CREATE INDEX IF NOT EXISTS idx_push_devices_address ON push_devices USING hash (address);

-- How far those people have read, so that nobody is notified of what was seen.
CREATE TABLE IF NOT EXISTS push_reads (
    user_id         UUID,
    conversation_id UUID,
    read_seq        BIGINT NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
);
