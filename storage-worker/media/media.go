// Package media keeps what people upload: it takes a stream, finds out what it is,
// stores it under a key of its own making, and removes what nobody has sent.
//
//	REST ──body──▶ Upload: sniff ─▶ picture: measure, strip, thumbnail ▶ Store
//	                            └─▶ HEIC, AVIF, film: blank, others ───▶ Store
//	REST ◀──Content── Store                  Run: what is in no message ─▶ removed
//
// A file is never whole in memory. Nothing that a client says about a file is
// believed: its name is only shown, its type is not read. An upload is three
// objects, and the one that says what it is comes last: without it there is no
// upload, and what lies there is removed with all that nobody has sent.
//
//	2026113009/<id>/original     the hour is that of the id, so that a sweep
//	2026113009/<id>/thumbnail    lists one hour and not everything
//	2026113009/<id>/info         JSON: owner, type, size …
//	swept/2026113009             the hour needs no more sweeping
//	pending/…                    what clients write by themselves, see [Library.Begin]
//
// Who may read an upload is asked of the archive, by REST; a handler of HTTP is not
// here either.
package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/media/picture"
)

// The limits of uploads.
const (
	// PictureBytes bounds a picture, which is looked at before it is stored.
	PictureBytes = 32 << 20
	// FileBytes bounds anything else, which passes through.
	FileBytes = 256 << 20
	// UploadsAtOnce is how many uploads one process takes at once, and
	// UploadsPerUser how many of them may be one user's.
	UploadsAtOnce  = 32
	UploadsPerUser = 4
	// DecodesAtOnce is how many pictures are decoded at once, each of which may
	// take picture.DecodeBytes of memory.
	DecodesAtOnce = 1
	// NameBytes bounds the name of a file that is kept.
	NameBytes = 255
	// CleanTimeout bounds the removal of what a failed upload left behind.
	CleanTimeout = 30 * time.Second
)

// ErrNotFound says that a store has no object of a name.
var ErrNotFound = errors.New("no such object")

// Store keeps objects by key. Keys are made here and consist of a-z, 0-9, '-' and
// '/'. All methods are safe for concurrent use and wait for the store.
type Store interface {
	// Put stores all of body. When it returns nil the object is durable and
	// readers see all of it; otherwise they see nothing of it, and whatever was
	// written is removed, at the latest by Abandon. An error of body is returned
	// wrapped. Memory does not grow with the size.
	Put(ctx context.Context, key string, body io.Reader) error
	// Open returns an object from an offset on, or [ErrNotFound], which may come
	// from the first Read.
	Open(ctx context.Context, key string, from int64) (io.ReadCloser, error)
	// Remove removes an object. That it is not there is no error.
	Remove(ctx context.Context, key string) error
	// List calls each with every key that begins with the prefix, which ends
	// with '/', in any order, until each returns an error, which it returns.
	List(ctx context.Context, prefix string, each func(key string) error) error
	// Abandon removes what Puts have written that did not end, as after a crash,
	// and began before a time.
	Abandon(ctx context.Context, before time.Time) error
}

// Direct is a [Store] from which clients can read by themselves.
type Direct interface {
	// Direct returns a URL that answers one method, GET or HEAD, with an object
	// for a time, as the type and with the Content-Disposition given; or "" if
	// clients do not reach the store.
	Direct(ctx context.Context, method, key, contentType, disposition string, lifetime time.Duration) (string, error)
}

// Config is what a [Library] stands on.
type Config struct {
	Store Store
	Links *mediaurl.Links
	// Referenced reports whether any message has an upload.
	Referenced func(ctx context.Context, id chat.MediaID) (bool, error)
	// Scratch is the folder for pictures that are being looked at; empty: the
	// system's.
	Scratch string
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Library takes and gives uploads. It is safe for concurrent use.
type Library struct {
	// Fixed after New.
	Config
	decoding chan struct{} // a token for each picture that is decoded

	received, refused, removed *metrics.Counter
	failed                     *metrics.Counter // sweeps

	mu   sync.Mutex
	busy map[chat.UserID]int // uploads under way
	all  int
}

// New returns a library; Run sweeps it.
func New(config Config) *Library {
	l := &Library{
		Config:   config,
		decoding: make(chan struct{}, DecodesAtOnce),
		busy:     map[chat.UserID]int{},
		received: config.Metrics.Counter("switchboard_media_uploads_total"),
		refused:  config.Metrics.Counter("switchboard_media_uploads_refused_total"),
		removed:  config.Metrics.Counter("switchboard_media_removed_total"),
		failed:   config.Metrics.Counter("switchboard_media_sweep_errors_total"),
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	config.Metrics.Gauge("switchboard_media_uploads_in_flight", func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(l.all)
	})
	return l
}

// Info is what is known of an upload; it is stored as JSON.
type Info struct {
	ID          chat.MediaID `json:"media_id"`
	Owner       chat.UserID  `json:"owner"`
	Type        string       `json:"type"`
	Size        int64        `json:"size"`
	Name        string       `json:"name,omitempty"`
	Width       int          `json:"width,omitempty"` // of a picture, upright
	Height      int          `json:"height,omitempty"`
	Placeholder string       `json:"placeholder,omitempty"`
	Digest      string       `json:"sha256"`
	// Thumbnail is there for most pictures.
	Thumbnail *Variant `json:"thumbnail,omitempty"`
}

// Variant is another object of an upload.
type Variant struct {
	Type   string `json:"type"`
	Size   int64  `json:"size"`
	Digest string `json:"sha256"`
}

// enter lets an upload begin, which leave must end.
func (l *Library) enter(u chat.UserID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= UploadsAtOnce || l.busy[u] >= UploadsPerUser {
		l.refused.Inc()
		return &chat.Error{Code: chat.Unavailable, Message: "too many uploads are under way", RetryAfter: time.Second}
	}
	l.all++
	l.busy[u]++
	return nil
}

func (l *Library) leave(u chat.UserID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.busy[u]--; l.busy[u] == 0 {
		delete(l.busy, u)
	}
}

// The objects of an upload.
const (
	original  = "/original"
	thumbnail = "/thumbnail"
	info      = "/info"
)

// hourOf names the hour in which an upload was made.
func hourOf(t time.Time) string { return t.UTC().Format("2006010215") }

// keyOf returns the key of an upload's object.
func keyOf(id chat.MediaID, object string) string {
	return hourOf(chat.MediaMade(id)) + "/" + id.String() + object
}

// refusal translates what was found out about a picture.
func refusal(err error) error {
	switch {
	case errors.Is(err, picture.ErrTooLarge):
		return chat.Errorf(chat.TooLarge, "the picture has too many pixels, frames or scans: at most %d pixels, %d on a side, %d frames, %d scans",
			picture.PixelsMax, picture.SideMax, picture.FramesMax, picture.ScansMax)
	case errors.Is(err, picture.ErrDamaged):
		return chat.Errorf(chat.UnsupportedMedia, "the file begins like a picture and is none, or it is damaged")
	}
	return err
}

// clean removes what an upload has left, whatever became of its client.
func (l *Library) clean(ctx context.Context, id chat.MediaID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanTimeout)
	defer cancel()
	return l.remove(ctx, id)
}

// remove removes an upload: first what makes it one.
func (l *Library) remove(ctx context.Context, id chat.MediaID) error {
	for _, object := range []string{info, thumbnail, original} {
		if err := l.Store.Remove(ctx, keyOf(id, object)); err != nil {
			return fmt.Errorf("remove %s of upload %s: %w", object, id, err)
		}
	}
	return nil
}
