package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/media/picture"
)

// infoBytes bounds what is read of a description.
const infoBytes = 16 << 10

// directLifetime is how long a URL of the store opens an object: long enough to
// follow a redirection, and for a player to ask for more.
const directLifetime = time.Hour

// ErrNoUpload is the one answer for what is not there and what may not be read.
var ErrNoUpload = chat.Errorf(chat.NotFound, "there is no such upload for you")

// Info returns what is known of an upload, or [ErrNoUpload].
func (l *Library) Info(ctx context.Context, id chat.MediaID) (*Info, error) {
	r, err := l.Store.Open(ctx, keyOf(id, info), 0)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(r, infoBytes))
		err = errors.Join(err, r.Close())
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, ErrNoUpload
	case err != nil:
		return nil, fmt.Errorf("read about upload %s: %w", id, err)
	}
	i := new(Info)
	if err := json.Unmarshal(text, i); err != nil {
		return nil, fmt.Errorf("read about upload %s: %w", id, err)
	}
	return i, nil
}

// inline are the types that a browser may show in a page: it runs nothing that is
// in them. Everything else is saved, and called bytes.
var inline = []string{picture.JPEG, picture.PNG, picture.GIF, picture.WebP, "video/mp4", "video/webm", "audio/mpeg", "audio/wave", "application/ogg"}

// Content is one object of an upload, to be read from any place. Close it.
type Content struct {
	Type        string // as which it is served
	Disposition string
	ETag        string
	Made        time.Time
	Size        int64

	ctx   context.Context //nolint:containedctx // io.ReadSeeker has none, and a Content is of one request.
	store Store
	key   string
	at    int64
	open  io.ReadCloser // at the place at; nil: not yet
}

// Content returns the file of an upload, or its thumbnail; or [ErrNoUpload] if it
// has none. ctx counts as long as it is read.
func (l *Library) Content(ctx context.Context, i *Info, small bool) (*Content, error) {
	c := &Content{
		Type: i.Type, ETag: `"` + i.Digest + `"`, Made: chat.MediaMade(i.ID), Size: i.Size,
		ctx: ctx, store: l.Store, key: keyOf(i.ID, original),
	}
	if small {
		if i.Thumbnail == nil {
			return nil, ErrNoUpload
		}
		c.Type, c.Size, c.ETag, c.key = i.Thumbnail.Type, i.Thumbnail.Size, `"`+i.Thumbnail.Digest+`"`, keyOf(i.ID, thumbnail)
	}
	disposition := "inline"
	if !slices.Contains(inline, c.Type) {
		c.Type, disposition = "application/octet-stream", "attachment"
	}
	c.Disposition = disposition
	if i.Name != "" && !small {
		c.Disposition = mime.FormatMediaType(disposition, map[string]string{"filename": i.Name})
	}
	return c, nil
}

// Direct returns a URL of the store itself for a content, or "" if there is none.
func (c *Content) Direct(method string) (string, error) {
	direct, ok := c.store.(Direct)
	if !ok {
		return "", nil
	}
	return direct.Direct(c.ctx, method, c.key, c.Type, c.Disposition, directLifetime)
}

// Read implements [io.Reader].
func (c *Content) Read(b []byte) (n int, err error) {
	if c.at >= c.Size {
		return 0, io.EOF
	}
	if err := c.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read an upload: %w", err) // A folder knows of no end.
	}
	if c.open == nil {
		if c.open, err = c.store.Open(c.ctx, c.key, c.at); err != nil {
			return 0, fmt.Errorf("read an upload: %w", err)
		}
	}
	n, err = c.open.Read(b)
	c.at += int64(n)
	return n, err
}

// Seek implements [io.Seeker]; nothing is asked of the store before the next Read.
func (c *Content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	if offset != c.at {
		c.at = offset
		return offset, c.Close()
	}
	return offset, nil
}

// Close ends the reading.
func (c *Content) Close() error {
	if c.open == nil {
		return nil
	}
	err := c.open.Close()
	c.open = nil
	return err
}
