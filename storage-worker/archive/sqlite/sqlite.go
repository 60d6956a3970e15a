// Package sqlite keeps the archive in one SQLite file: the embedded default,
// for a laptop, a test, or a whole system on one machine. It is the home of
// modernc.org/sqlite.
//
//	Write ──┐                       ┌── Entries, StaysIn …
//	Write ──┼─▶ queue ─▶ writer     reader ×N ◀─┤
//	Write ──┘            │              ▲       └── Tip, Spans …
//	                     ▼              │
//	            one transaction ──▶ write-ahead log ──checkpoint──▶ file
//
// SQLite has one writer at a time, so there is one writing connection and one
// goroutine that owns it. What arrives while a transaction is being committed
// goes into the next one together: the more partitions write at the same time,
// the less each pays for the disk's fsync. A Write is all there or not at all,
// which is more than [archive.Store] promises.
//
// The newest write wins, as in CQL, because every upsert compares the clock it
// carries with the one that is stored; see schema.sql.
//
// Readers see each Write that has returned, since a read begins its own
// snapshot. They never wait for the writer, nor the writer for them.
//
// Two duties run in the background: moving the write-ahead log into the file,
// and removing keys that are older than [chat.KeyTTL]. Neither ever runs
// inside a Write.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
)

// schemaVersion is the version of schema.sql, kept in the file's user_version.
const schemaVersion = 2

// pageBytes is the size of a page. A message touches about seven, in as many
// places, and each goes to the write-ahead log whole: with pages of 4 KiB that
// was 25 KB a message, with 2 KiB it is 15, and the processor does no more.
const pageBytes = 2048

// Errors that an operator meets.
var (
	// ErrInUse says that another process, or another Store of this one, has
	// the file open.
	ErrInUse = errors.New("archive is in use by another process")
	// ErrNewer says that a later release wrote the file.
	ErrNewer = errors.New("archive was written by a newer release")
	// ErrClosed is the answer to calls after Close.
	ErrClosed = errors.New("archive is closed")
)

// Sync says when the disk has what was written.
type Sync string

// The ways to write.
const (
	// Full calls fsync for every transaction: what was acknowledged survives a
	// power cut.
	Full Sync = "FULL"
	// Normal calls fsync at checkpoints only: what was acknowledged survives
	// kill -9, but a power cut may take the last seconds. The file stays sound.
	Normal Sync = "NORMAL"
)

// Config says how to run the store. The zero value is safe.
type Config struct {
	Sync    Sync          // default Full
	Readers int           // connections for reading, default 4
	Busy    time.Duration // how long to wait for a lock, default 5 s
	// MaxPages bounds the file, in pages of 2 KiB; 0 leaves it to the disk.
	MaxPages int64
	// Sweep is how often expired keys are looked for, default 1 h.
	Sweep time.Duration
	// Metrics may be nil.
	Metrics *metrics.Set
}

func (c Config) withDefaults() Config {
	if c.Sync == "" {
		c.Sync = Full
	}
	if c.Readers <= 0 {
		c.Readers = 4
	}
	if c.Busy <= 0 {
		c.Busy = 5 * time.Second
	}
	if c.Sweep <= 0 {
		c.Sweep = time.Hour
	}
	if c.Metrics == nil {
		c.Metrics = metrics.New()
	}
	return c
}

// Store is an [archive.Store] in one file. Close it.
type Store struct {
	config Config
	lock   *os.File
	writer *writer
	reader *reader

	checkpointer driver.Conn // owned by checkpoints

	stop   context.CancelFunc // ends the duties
	duties sync.WaitGroup
	once   sync.Once
	closed error
}

var _ archive.Store = (*Store)(nil)

// Open opens the file at path, creating it and its tables where there is none.
// It fails with [ErrInUse] or [ErrNewer] where that is the reason.
func Open(ctx context.Context, path string, config Config) (*Store, error) {
	s, err := start(ctx, path, config)
	if err != nil {
		return nil, fmt.Errorf("open archive %s: %w", path, err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.duties.Go(func() { s.checkpoints(background) })
	s.duties.Go(func() { s.sweeps(background) })
	return s, nil
}

// start opens the file and starts the writer, but not the duties.
func start(ctx context.Context, path string, config Config) (*Store, error) {
	s := &Store{config: config.withDefaults(), stop: func() {}}
	var err error
	if s.lock, err = lockFile(path + "-lock"); err != nil {
		return nil, err
	}
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	s.duties.Go(s.writer.run)
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	conn, err := connect(ctx, path, s.config, writing)
	if err != nil {
		return err
	}
	s.writer = newWriter(conn, s.config.Metrics)
	if err := prepareSchema(ctx, conn); err != nil {
		return err
	}
	if err := s.writer.prepare(ctx); err != nil {
		return err
	}
	if s.checkpointer, err = connect(ctx, path, s.config, checkpointing); err != nil {
		return err
	}
	connector, err := sqlite.NewConnector(address(path, s.config, reading))
	if err != nil {
		return err
	}
	s.reader, err = newReader(ctx, sql.OpenDB(connector), s.config.Readers)
	return err
}

// Close finishes the writes that were begun, and closes the file. Writes that
// wait are answered with [ErrClosed].
func (s *Store) Close() error {
	s.once.Do(func() {
		s.stop()
		s.writer.close()
		s.duties.Wait()
		s.closed = s.closeFiles()
	})
	return s.closed
}

// closeFiles closes whatever open has opened. The reader goes first: the last
// connection to close moves the write-ahead log into the file and removes it.
func (s *Store) closeFiles() error {
	var errs []error
	if s.reader != nil {
		errs = append(errs, s.reader.close())
	}
	if s.checkpointer != nil {
		errs = append(errs, s.checkpointer.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.closeConn())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close archive: %w", err)
	}
	return nil
}

// purpose is what a connection is for.
type purpose int

const (
	reading purpose = iota
	writing
	checkpointing
)

// connect opens one connection below database/sql: it belongs to one goroutine.
func connect(ctx context.Context, path string, config Config, p purpose) (driver.Conn, error) {
	connector, err := sqlite.NewConnector(address(path, config, p))
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	// The driver runs the pragmas of an address by the alphabet, and journal_mode
	// makes the file with the page size of that moment.
	if err := execute(ctx, conn, "PRAGMA page_size = "+strconv.Itoa(pageBytes)+"; PRAGMA journal_mode = WAL"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// address returns the data source name of a connection.
func address(path string, config Config, p purpose) string {
	q := url.Values{}
	pragma := func(name, value string) { q.Add("_pragma", name+"("+value+")") }
	pragma("busy_timeout", strconv.FormatInt(config.Busy.Milliseconds(), 10))
	if p == reading {
		pragma("query_only", "1")
		// A commit empties a reader's cache and would unmap a mapped file: both
		// at each read while somebody writes. The kernel's cache serves as well.
		pragma("cache_size", "-1024") // KiB
	} else {
		pragma("synchronous", string(config.Sync))
		pragma("wal_autocheckpoint", "0") // a duty of its own: see checkpoints
		pragma("journal_size_limit", strconv.Itoa(walKeepBytes))
	}
	if p == writing {
		// Each commit walks the whole index of the cache, which grows with its
		// size: 64 MiB cost 8 % of the CPU time of `dev` at 2,000 messages/s.
		pragma("cache_size", "-16384") // KiB: the pages being written stay at hand
		pragma("temp_store", "MEMORY")
	}
	if p == writing && config.MaxPages > 0 {
		pragma("max_page_count", strconv.FormatInt(config.MaxPages, 10))
	}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()
}

// secondVersion is where in schema.sql begins what a file of version 1 lacks.
const secondVersion = "CREATE TABLE media_refs"

// prepareSchema creates the tables in an empty file, or those that are missing in
// an older one, and refuses a file of the
// future.
func prepareSchema(ctx context.Context, conn driver.Conn) error {
	version, err := queryInts(ctx, conn, "PRAGMA user_version", 1)
	switch {
	case err != nil:
		return err
	case version[0] > schemaVersion:
		return fmt.Errorf("%w: schema version %d, this one knows %d", ErrNewer, version[0], schemaVersion)
	case version[0] == schemaVersion:
		return nil
	}
	tables := archive.SchemaSQL
	if version[0] == 1 {
		tables = tables[strings.Index(tables, secondVersion):]
	}
	script := "BEGIN IMMEDIATE;\n" + tables +
		"\nPRAGMA user_version = " + strconv.Itoa(schemaVersion) + ";\nCOMMIT;"
	if err := execute(ctx, conn, script); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	return nil
}

// execute runs SQL without arguments and results.
func execute(ctx context.Context, conn driver.Conn, text string) error {
	_, err := conn.(driver.ExecerContext).ExecContext(ctx, text, nil)
	return err
}

// queryInts returns the first n columns of the first row.
func queryInts(ctx context.Context, conn driver.Conn, text string, n int) (ints []int64, err error) {
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, text, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(values); err != nil {
		return nil, err
	}
	for _, v := range values[:n] {
		i, ok := v.(int64)
		if !ok {
			return nil, fmt.Errorf("%s: %T is no integer", text, v)
		}
		ints = append(ints, i)
	}
	return ints, nil
}
