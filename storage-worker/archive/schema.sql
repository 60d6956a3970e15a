-- The archive in SQLite. The same tables, columns and keys in CQL stand in
-- schema.cql; docs/formats.md says what each is for.
--
-- What differs, and why:
--
--   * CQL gives every cell a write timestamp and the newest wins. Here a row
--     carries it: in its own message_id where that is the event which wrote the
--     row, else in a column named written, left_written or name_written, one
--     for each group of columns that is written on its own.
--   * message ids (message_id, reply_to, created, head_id) are TIMEUUIDs with
--     their octets re-ordered, most significant time first, so that memcmp is
--     time order: 60 bits of time, 4 of version, 8 octets as they are.
--     All other ids are their 16 octets.
--   * Text that users wrote is a BLOB: U+0000 is one of its characters.
--   * conversations_of is stored by conversation and indexed by user: a message
--     moves the heads of all members, and here they lie on one page.
--   * heads is not here: it is the lower bound from which a CQL reader probes
--     on, and a B-tree finds the newest row of a conversation in one descent.

CREATE TABLE messages (
    conversation_id BLOB    NOT NULL,
    bucket          INTEGER NOT NULL, -- (seq - 1) / 4096
    seq             INTEGER NOT NULL,
    message_id      BLOB    NOT NULL,
    sender_id       BLOB    NOT NULL,
    request_id      BLOB    NOT NULL,
    content         BLOB    NOT NULL,
    message_type    TEXT    NOT NULL, -- text, image, file, event
    media_url       BLOB,
    created_at      INTEGER NOT NULL, -- Unix milliseconds
    reply_to        BLOB,
    change          INTEGER,          -- the rest: of message_type event
    user_id         BLOB,
    role            INTEGER,
    name            BLOB,
    members_version INTEGER NOT NULL,
    generation      INTEGER NOT NULL,
    inbound_offset  INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, bucket, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE message_keys (
    conversation_id BLOB    NOT NULL,
    sender_id       BLOB    NOT NULL,
    request_id      BLOB    NOT NULL,
    generation      INTEGER NOT NULL,
    inbound_offset  INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    message_id      BLOB    NOT NULL,
    digest          BLOB    NOT NULL,
    PRIMARY KEY (conversation_id, sender_id, request_id, generation, inbound_offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    conversation_id BLOB NOT NULL,
    type            INTEGER,
    creator         BLOB,
    created         BLOB,
    written         INTEGER,
    name            BLOB,
    name_written    INTEGER,
    PRIMARY KEY (conversation_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    conversation_id BLOB    NOT NULL,
    user_id         BLOB    NOT NULL,
    joined_seq      INTEGER NOT NULL,
    role            INTEGER,
    message_id      BLOB,             -- of the event that opened the span
    left_seq        INTEGER,
    left_written    INTEGER,
    PRIMARY KEY (conversation_id, user_id, joined_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations_of (
    user_id         BLOB    NOT NULL,
    conversation_id BLOB    NOT NULL,
    joined_seq      INTEGER NOT NULL,
    left_seq        INTEGER,
    left_written    INTEGER,
    head_seq        INTEGER NOT NULL,
    head_id         BLOB    NOT NULL,
    large           INTEGER NOT NULL,
    written         INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id, joined_seq)
) STRICT, WITHOUT ROWID;

-- Its columns never change, so that a new head costs the index nothing.
CREATE INDEX conversations_of_user ON conversations_of (user_id, conversation_id, joined_seq);

CREATE TABLE watermarks (
    conversation_id BLOB    NOT NULL,
    user_id         BLOB    NOT NULL,
    joined_seq      INTEGER NOT NULL,
    read_seq        INTEGER NOT NULL,
    delivered_seq   INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id, joined_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE progress (
    generation      INTEGER NOT NULL,
    partition       INTEGER NOT NULL,
    inbound_offset  INTEGER NOT NULL,
    clock           INTEGER NOT NULL, -- microseconds since the Unix epoch
    PRIMARY KEY (generation, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE media_refs (
    media_id        BLOB NOT NULL,
    conversation_id BLOB NOT NULL,
    message_id      BLOB NOT NULL,
    PRIMARY KEY (media_id, conversation_id)
) STRICT, WITHOUT ROWID;
