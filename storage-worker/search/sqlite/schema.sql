-- The search index in SQLite: a copy of messages, and where each of their words is.
--
--   * place is a message's clock in microseconds, 11 bits to the left, plus the
--     partition that made it: unique, ascending with the message's id, and the same
--     whenever the index is built anew.
--   * words has no content of its own. Its text is words that are folded already,
--     with spaces between; facts are one word for each thing that can be filtered by.

CREATE TABLE IF NOT EXISTS messages (
    place           INTEGER NOT NULL PRIMARY KEY,
    message_id      BLOB    NOT NULL,
    conversation_id BLOB    NOT NULL,
    seq             INTEGER NOT NULL,
    sender_id       BLOB    NOT NULL,
    kind            INTEGER NOT NULL,
    media           INTEGER NOT NULL,
    content         BLOB    NOT NULL,
    version         INTEGER NOT NULL  -- clock of the record that this state comes from
) STRICT;

CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, facts, content = '', contentless_delete = 1, tokenize = 'ascii', prefix = '1 2 3'
);

CREATE TABLE IF NOT EXISTS search_reached (
    conversation_id BLOB    NOT NULL PRIMARY KEY,
    seq             INTEGER NOT NULL  -- all messages up to here are in the index
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS search_progress (
    generation      INTEGER NOT NULL,
    partition       INTEGER NOT NULL,
    accepted_offset INTEGER NOT NULL, -- of the record to read next
    inbound_offset  INTEGER NOT NULL, -- of the newest outcome that was seen, or -1
    PRIMARY KEY (generation, partition)
) STRICT, WITHOUT ROWID;
