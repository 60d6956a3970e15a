-- Which devices are notified, and how far their people have read.

CREATE TABLE IF NOT EXISTS push_devices (
    user_id    BLOB NOT NULL,
    device_id  TEXT NOT NULL,
    kind       TEXT NOT NULL,     -- web_push, webhook
    address    TEXT NOT NULL,     -- an endpoint, or a token
    settings   TEXT NOT NULL,     -- JSON
    updated_at INTEGER NOT NULL,  -- Unix seconds
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS idx_push_devices_address ON push_devices(kind, address);

CREATE TABLE IF NOT EXISTS push_reads (
    user_id         BLOB NOT NULL,
    conversation_id BLOB NOT NULL,
    read_seq        INTEGER NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) WITHOUT ROWID;
