package media

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"switchboard/internal/chat"
)

// A direct upload is one whose bytes the client writes into the store by itself, so
// that a slow client holds nothing of ours:
//
//	Begin ──▶ pending/open/<owner>/<id>/note     JSON: name, size
//	client ─PUT─▶ pending/open/<owner>/<id>/bytes    by a URL for this key and this size
//	Complete ─▶ the bytes are read once, as a body of Upload is: another upload, of a new id
//	         └▶ pending/done/<owner>/<id>        JSON: which one, for who asks again
//
// What the client can write is never what is read by others, however long it keeps
// the URL: what was checked is what was stored, in one reading. And who owns it is
// in the key, so that nobody completes what another has begun.

// The limits of direct uploads.
const (
	// InletLifetime is how long a URL takes bytes; they must begin to come in it.
	InletLifetime = 15 * time.Minute
	// PendingKept is how long after its beginning a direct upload may be completed:
	// as slow a client as [Paced] bears with has its bytes there by then.
	PendingKept = 3 * time.Hour
	// PendingPerUser is how many of them a user may have begun and not completed.
	PendingPerUser = 32
	// noteBytes bounds what is read of a note.
	noteBytes = 4 << 10
)

// Inlet is a [Store] into which clients can write by themselves.
type Inlet interface {
	// Inlet returns a URL that takes one object of exactly so many bytes, by PUT,
	// for a time; or "" if clients do not reach the store.
	Inlet(ctx context.Context, key string, size int64, lifetime time.Duration) (string, error)
}

var (
	// ErrNoInlet says that clients cannot write into the store. It is what a server
	// says that does not know of direct uploads at all.
	ErrNoInlet = chat.Errorf(chat.NotFound, "this server takes no direct uploads: POST to /api/v1/media/upload")
	// ErrNotPending is the one answer for what was not begun, by this user or at all,
	// and for what has ended.
	ErrNotPending = chat.Errorf(chat.NotFound, "there is no such direct upload of yours, or it has ended")
	// errNotArrived says that nothing was PUT yet.
	errNotArrived = chat.Errorf(chat.BadRequest, "the bytes have not arrived: PUT them first")
	// errOtherSize says that something else was PUT than was begun.
	errOtherSize = chat.Errorf(chat.BadRequest, "the bytes that arrived are not as many as were begun")
)

// Pending is a direct upload that has begun.
type Pending struct {
	ID   chat.MediaID `json:"-"` // its own; the upload gets another
	Name string       `json:"name,omitempty"`
	Size int64        `json:"size"`
	URL  string       `json:"-"` // takes the bytes until Ends
	Ends time.Time    `json:"-"`
}

// The keys of direct uploads.
const (
	pending     = "pending/"
	pendingOpen = pending + "open/"
	pendingDone = pending + "done/"
	note        = "/note"
	arrived     = "/bytes"
)

func openOf(owner chat.UserID) string { return pendingOpen + owner.String() + "/" }

func openKey(owner chat.UserID, id chat.MediaID, object string) string {
	return openOf(owner) + id.String() + object
}

func doneKey(owner chat.UserID, id chat.MediaID) string {
	return pendingDone + owner.String() + "/" + id.String()
}

// Begin lets a client write a file of a size into the store, or is [ErrNoInlet].
// Nothing can be read or sent before it is complete.
func (l *Library) Begin(ctx context.Context, owner chat.UserID, name string, size int64) (*Pending, error) {
	inlet, ok := l.Store.(Inlet)
	switch {
	case !ok:
		return nil, ErrNoInlet
	case size < 1:
		return nil, chat.Errorf(chat.BadRequest, "size must be that of the file, in bytes")
	case size > FileBytes:
		return nil, chat.Errorf(chat.TooLarge, "the file is longer than %d bytes", FileBytes)
	}
	now := l.Now()
	p := &Pending{ID: chat.NewMediaID(now), Name: shownName(name), Size: size, Ends: now.Add(InletLifetime)}
	var err error
	if p.URL, err = inlet.Inlet(ctx, openKey(owner, p.ID, arrived), size, InletLifetime); err != nil {
		return nil, fmt.Errorf("begin a direct upload: %w", err)
	}
	if p.URL == "" {
		return nil, ErrNoInlet
	}
	if err := l.write(ctx, openKey(owner, p.ID, note), p); err != nil {
		return nil, fmt.Errorf("begin a direct upload: %w", err)
	}
	if err := l.mayBegin(ctx, owner); err != nil {
		l.refused.Inc()
		l.forget(ctx, owner, p.ID)
		return nil, err
	}
	return p, nil
}

// mayBegin counts what a user has begun, the newest included, which is noted first:
// of two at once on two servers, one sees the other.
func (l *Library) mayBegin(ctx context.Context, owner chat.UserID) error {
	now, open := l.Now(), 0
	first := now
	err := l.Store.List(ctx, openOf(owner), func(key string) error {
		id, object := pendingID(key)
		if made := chat.MediaMade(id); object == note && now.Sub(made) < PendingKept {
			open++
			if made.Before(first) {
				first = made
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count direct uploads: %w", err)
	}
	if open > PendingPerUser {
		return &chat.Error{
			Code: chat.RateLimited, Message: fmt.Sprintf("complete what you have begun: at most %d direct uploads are open at once", PendingPerUser),
			RetryAfter: max(first.Add(PendingKept).Sub(now), time.Second),
		}
	}
	return nil
}

// pendingID returns the id in a key of a direct upload and what is behind it; the
// zero id, which is very old, of a key that is none.
func pendingID(key string) (id chat.MediaID, object string) {
	rest := strings.TrimPrefix(strings.TrimPrefix(key, pendingOpen), pendingDone)
	_, rest, _ = strings.Cut(rest, "/")
	name, _, _ := strings.Cut(rest, "/")
	id, err := chat.ParseMediaID(name)
	if err != nil {
		return chat.MediaID{}, ""
	}
	return id, strings.TrimPrefix(rest, name)
}

// Complete makes an upload of what the client has written, after all that is asked
// of a body of Upload, and forgets the direct one. Asked again it returns the same
// upload. What is refused for what it is, is removed; after any other error
// it may be asked again.
func (l *Library) Complete(ctx context.Context, owner chat.UserID, id chat.MediaID) (*Info, error) {
	i, err := l.completed(ctx, owner, id)
	if !errors.Is(err, ErrNotFound) {
		return i, err
	}
	i, err = l.complete(ctx, owner, id)
	if errors.Is(err, errNotArrived) || errors.Is(err, ErrNotPending) {
		// Another call may have completed it since the first look.
		if i, err := l.completed(ctx, owner, id); !errors.Is(err, ErrNotFound) {
			return i, err
		}
	}
	return i, err
}

// completed returns the upload that was made of a direct one, or [ErrNotFound].
func (l *Library) completed(ctx context.Context, owner chat.UserID, id chat.MediaID) (*Info, error) {
	var made completion
	if err := l.read(ctx, doneKey(owner, id), &made); err != nil {
		return nil, fmt.Errorf("look for a completed upload: %w", err)
	}
	return l.Info(ctx, made.ID)
}

// completion says which upload was made.
type completion struct {
	ID chat.MediaID `json:"media_id"`
}

func (l *Library) complete(ctx context.Context, owner chat.UserID, id chat.MediaID) (*Info, error) {
	if l.Now().Sub(chat.MediaMade(id)) >= PendingKept {
		return nil, ErrNotPending
	}
	var p Pending
	err := l.read(ctx, openKey(owner, id, note), &p)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotPending
	}
	if err != nil {
		return nil, fmt.Errorf("complete a direct upload: %w", err)
	}
	i, err := l.take(ctx, owner, id, p)
	if err != nil {
		if lasting(err) && !errors.Is(err, errNotArrived) {
			l.forget(ctx, owner, id)
		}
		return nil, err
	}
	if err := l.write(ctx, doneKey(owner, id), completion{i.ID}); err != nil {
		return nil, fmt.Errorf("note a completed upload: %w", err)
	}
	l.forget(ctx, owner, id)
	return i, nil
}

// lasting reports whether an upload is refused for what it is.
func lasting(err error) bool {
	code := chat.AsError(err).Code
	return code == chat.TooLarge || code == chat.UnsupportedMedia || code == chat.BadRequest
}

// take stores what a client has written as an upload of its own.
func (l *Library) take(ctx context.Context, owner chat.UserID, id chat.MediaID, p Pending) (*Info, error) {
	body, err := l.Store.Open(ctx, openKey(owner, id, arrived), 0)
	if err == nil {
		defer body.Close() // it was only read
		var i *Info
		if i, err = l.Upload(ctx, owner, p.Name, &exactly{r: body, left: p.Size}); err == nil {
			return i, nil
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil, errNotArrived
	}
	return nil, fmt.Errorf("complete a direct upload: %w", err)
}

// exactly is a reader that must have so many bytes.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if e.left -= int64(n); e.left < 0 || err == io.EOF && e.left > 0 {
		return n, errOtherSize
	}
	return n, err
}

// forget removes what is open of a direct upload, whatever became of its client.
// What cannot be removed is left for a sweep, and so is what the client writes later.
func (l *Library) forget(ctx context.Context, owner chat.UserID, id chat.MediaID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanTimeout)
	defer cancel()
	for _, object := range []string{note, arrived} {
		if err := l.Store.Remove(ctx, openKey(owner, id, object)); err != nil {
			l.Logger.Warn("a direct upload is left for a sweep", "err", err)
		}
	}
}

// sweepPending removes what direct uploads have left that began before a time.
func (l *Library) sweepPending(ctx context.Context, before time.Time) error {
	var t troubles
	err := l.Store.List(ctx, pending, func(key string) error {
		if id, _ := pendingID(key); chat.MediaMade(id).Before(before) {
			t.add(l.Store.Remove(ctx, key))
		}
		return ctx.Err()
	})
	t.add(err)
	return t.err()
}

// write stores a note of ours.
func (l *Library) write(ctx context.Context, key string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return l.Store.Put(ctx, key, bytes.NewReader(text))
}

// read reads a note of ours, or is [ErrNotFound].
func (l *Library) read(ctx context.Context, key string, into any) error {
	r, err := l.Store.Open(ctx, key, 0)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(r, noteBytes))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
