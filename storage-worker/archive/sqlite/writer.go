package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
)

// groupElements bounds a transaction, in rows to write: what waits beyond it
// goes into the next one. It keeps the longest wait for the writer at some
// tens of milliseconds. One batch above the bound is a transaction of its own.
const groupElements = 4096

// dutyPatience is how many transactions may go before a duty that waits. A
// checkpoint's end must come even when there is always something to write, and
// must come soon, since what it moves is what these transactions wrote.
const dutyPatience = 8

// job is one call that waits for the writer. Exactly one of the first fields
// is set.
type job struct {
	batch    *archive.Batch
	progress *progress
	task     func(ctx context.Context, conn driver.Conn) error // a duty's, alone and outside a transaction

	done chan error // gets the outcome
}

// progress is a row of the table of that name.
type progress struct {
	partition int32
	archive.Progress
}

// elements returns about how many rows the job writes.
func (j *job) elements() int {
	b := j.batch
	if b == nil {
		return 1
	}
	return len(b.Rows) + len(b.Seen) + len(b.Infos) + len(b.Opened) + len(b.Closed) + len(b.Stays) + len(b.Marks)
}

// writer owns the one connection that writes.
type writer struct {
	groups   *metrics.Histogram // seconds of a transaction
	records  *metrics.Counter
	failures *metrics.Counter

	// Owned by run, and by Open before it starts.
	conn      driver.Conn
	tables    *tables
	begin     driver.Stmt
	commit    driver.Stmt
	rollback  driver.Stmt
	removeKey driver.Stmt

	mu     sync.Mutex
	queue  []*job
	duties []*job // done when the queue is empty
	passed int    // transactions that went before the first of duties
	closed bool
	wake   chan struct{} // holds one token when there may be work
}

func newWriter(conn driver.Conn, set *metrics.Set) *writer {
	return &writer{
		conn:     conn,
		groups:   set.Histogram(`switchboard_archive_transaction_seconds`),
		records:  set.Counter(`switchboard_archive_records_total`),
		failures: set.Counter(`switchboard_archive_failures_total`),
		wake:     make(chan struct{}, 1),
	}
}

func (w *writer) prepare(ctx context.Context) (err error) {
	if w.tables, err = prepareTables(ctx, w.conn); err != nil {
		return err
	}
	for _, p := range []struct {
		stmt *driver.Stmt
		text string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.removeKey, `DELETE FROM message_keys
			WHERE conversation_id = ? AND sender_id = ? AND request_id = ? AND generation = ? AND inbound_offset = ?`},
	} {
		if *p.stmt, err = w.conn.(driver.ConnPrepareContext).PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("prepare %q: %w", p.text, err)
		}
	}
	return nil
}

// submit waits until the writer has done the job, or ctx ends. A job that is in
// a transaction already is waited for even then, for its batch is being read.
func (w *writer) submit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.done = make(chan error, 1)
	if err := w.enqueue(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if w.withdraw(j) {
			return ctx.Err()
		}
		return <-j.done
	}
}

func (w *writer) enqueue(j *job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if j.task != nil {
		w.duties = append(w.duties, j)
	} else {
		w.queue = append(w.queue, j)
	}
	w.notify()
	return nil
}

// notify leaves a token for run; one is enough however much there is to do.
func (w *writer) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a job out of the queue; false means that run has it already.
func (w *writer) withdraw(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, queue := range []*[]*job{&w.queue, &w.duties} {
		for i, other := range *queue {
			if other == j {
				*queue = append((*queue)[:i], (*queue)[i+1:]...)
				return true
			}
		}
	}
	return false
}

// close makes run end after what it is doing.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.notify()
}

func (w *writer) closeConn() error {
	var errs []error
	if w.tables != nil {
		errs = append(errs, w.tables.close())
	}
	for _, s := range []driver.Stmt{w.begin, w.commit, w.rollback, w.removeKey} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// run works until close. A duty gets its turn when no Write waits, or when it
// has been patient.
func (w *writer) run() {
	for range w.wake {
		for {
			group, duty, closed := w.next()
			switch {
			case closed:
				return
			case len(group) > 0:
				w.write(group)
			case duty != nil:
				duty.done <- duty.task(context.Background(), w.conn)
			}
			if len(group) == 0 && duty == nil {
				break
			}
		}
	}
}

// next takes what goes into one transaction, or else one duty. After close it
// answers all that waits.
func (w *writer) next() (group []*job, duty *job, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		for _, j := range append(w.queue, w.duties...) {
			j.done <- ErrClosed
		}
		return nil, nil, true
	}
	if len(w.duties) > 0 && (len(w.queue) == 0 || w.passed == dutyPatience) {
		duty, w.duties, w.passed = w.duties[0], w.duties[1:], 0
		return nil, duty, false
	}
	if len(w.duties) > 0 {
		w.passed++
	}
	elements, n := 0, 0
	for n < len(w.queue) && (n == 0 || elements+w.queue[n].elements() <= groupElements) {
		elements += w.queue[n].elements()
		n++
	}
	group = append(group, w.queue[:n]...)
	w.queue = append(w.queue[:0], w.queue[n:]...)
	clear(w.queue[len(w.queue):cap(w.queue)])
	return group, nil, false
}

// write commits a group in one transaction. When that fails each job is tried
// alone, so that a batch which cannot be written harms no other.
func (w *writer) write(group []*job) {
	began := time.Now()
	err := w.transaction(group)
	w.groups.UpdateDuration(began)
	if err == nil || len(group) == 1 {
		for _, j := range group {
			w.account(j, err)
			j.done <- err
		}
		return
	}
	for _, j := range group {
		err := w.transaction([]*job{j})
		w.account(j, err)
		j.done <- err
	}
}

func (w *writer) account(j *job, err error) {
	if err != nil {
		w.failures.Inc()
	} else if j.batch != nil {
		w.records.Add(j.batch.Records)
	}
}

// transaction writes all of the group or nothing.
func (w *writer) transaction(group []*job) error {
	err := w.within(context.Background(), func() error { return w.fill(group) }) // half a transaction helps nobody
	if err != nil {
		w.tables.reset()
		return fmt.Errorf("write to the archive: %w", err)
	}
	return nil
}

// within runs change inside one transaction.
func (w *writer) within(ctx context.Context, change func() error) error {
	if err := step(ctx, w.begin); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	err := change()
	if err == nil {
		if err = step(ctx, w.commit); err == nil {
			return nil
		}
	}
	// SQLite may have rolled back by itself; that this fails then is no news.
	_ = step(ctx, w.rollback)
	return err
}

// step runs a prepared statement.
func step(ctx context.Context, stmt driver.Stmt, args ...driver.NamedValue) error {
	_, err := stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	return err
}

func (w *writer) fill(group []*job) error {
	for _, j := range group {
		var err error
		if j.batch != nil {
			err = w.tables.add(j.batch)
		} else {
			err = w.tables.addProgress(j.progress.partition, j.progress.Progress)
		}
		if err != nil {
			return err
		}
	}
	return w.tables.flush()
}

// Write implements [archive.Store].
func (s *Store) Write(ctx context.Context, b *archive.Batch) error {
	return s.writer.submit(ctx, &job{batch: b})
}

// SetProgress implements [archive.Store].
func (s *Store) SetProgress(ctx context.Context, partition int32, p archive.Progress) error {
	return s.writer.submit(ctx, &job{progress: &progress{partition: partition, Progress: p}})
}

func (w *writer) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}
