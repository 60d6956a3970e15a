package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"switchboard/internal/chat"
	"switchboard/storage-worker/media/picture"
)

// Upload stores what body holds. name is what the client calls it. When it returns
// an error, nothing of the upload can be read and all of it is removed, now or, if
// the store does not answer, by a sweep. An error of body is returned wrapped.
func (l *Library) Upload(ctx context.Context, owner chat.UserID, name string, body io.Reader) (*Info, error) {
	if err := l.enter(owner); err != nil {
		return nil, err
	}
	defer l.leave(owner)
	i := &Info{ID: chat.NewMediaID(l.Now()), Owner: owner, Name: shownName(name)}
	err := l.receive(ctx, i, body)
	if err == nil {
		err = l.describe(ctx, i)
	}
	if err != nil {
		l.refused.Inc()
		if left := l.clean(ctx, i.ID); left != nil {
			l.Logger.Warn("a failed upload is left for a sweep", "err", left)
		}
		return nil, err
	}
	l.received.Inc()
	return i, nil
}

// receive stores the file, and a thumbnail if there is one.
func (l *Library) receive(ctx context.Context, i *Info, body io.Reader) error {
	head := make([]byte, picture.SniffBytes)
	n, err := io.ReadFull(body, head)
	switch {
	case errors.Is(err, io.EOF):
		return chat.Errorf(chat.BadRequest, "the file is empty")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read the upload: %w", err)
	}
	i.Type = picture.Sniff(head[:n])
	whole := io.MultiReader(bytes.NewReader(head[:n]), body)
	if err != nil {
		if whole, err = ended(head[:n], body); err != nil {
			return err
		}
	}
	if picture.Known(i.Type) {
		return l.receivePicture(ctx, i, whole)
	}
	stored := counted(picture.Private(head[:n], &limited{r: whole, left: FileBytes, what: "file"}))
	if err := l.Store.Put(ctx, keyOf(i.ID, original), stored); err != nil {
		return refusal(fmt.Errorf("store the upload: %w", err))
	}
	i.Size, i.Digest = stored.size, stored.digest()
	return nil
}

// ended returns the few bytes of a file that ended within the first look. That may
// have been its end, or a client that went away: body says it again.
func ended(head []byte, body io.Reader) (io.Reader, error) {
	if n, err := body.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the upload: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	return bytes.NewReader(head), nil
}

// receivePicture looks at a picture in a scratch file, which has no name any more
// when the first byte comes: however this ends, it is gone.
func (l *Library) receivePicture(ctx context.Context, i *Info, body io.Reader) error {
	scratch, err := os.CreateTemp(l.Scratch, "switchboard-picture-")
	if err != nil {
		return fmt.Errorf("look at a picture: %w", err)
	}
	defer scratch.Close() // nothing of it is needed
	if err := os.Remove(scratch.Name()); err != nil {
		return fmt.Errorf("look at a picture: %w", err)
	}
	size, err := io.Copy(scratch, &limited{r: body, left: PictureBytes, what: "picture"})
	if err != nil {
		return fmt.Errorf("read the upload: %w", err)
	}
	found, err := picture.Examine(scratch, size, i.Type)
	if err != nil {
		return refusal(err)
	}
	i.Width, i.Height = found.Width, found.Height
	small, err := l.decode(ctx, found)
	if err != nil {
		return refusal(err)
	}
	stored := counted(found.Stored())
	if err := l.Store.Put(ctx, keyOf(i.ID, original), stored); err != nil {
		return fmt.Errorf("store the upload: %w", err)
	}
	i.Size, i.Digest = stored.size, stored.digest()
	if small == nil {
		return nil
	}
	little := counted(bytes.NewReader(small.Bytes))
	if err := l.Store.Put(ctx, keyOf(i.ID, thumbnail), little); err != nil {
		return fmt.Errorf("store a thumbnail: %w", err)
	}
	i.Placeholder = small.Placeholder
	i.Thumbnail = &Variant{Type: small.Type, Size: little.size, Digest: little.digest()}
	return nil
}

// decode makes a thumbnail when it is this picture's turn.
func (l *Library) decode(ctx context.Context, p *picture.Picture) (*picture.Thumbnail, error) {
	select {
	case l.decoding <- struct{}{}:
		defer func() { <-l.decoding }()
		return p.Thumbnail()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// describe makes an upload of what was stored.
func (l *Library) describe(ctx context.Context, i *Info) error {
	text, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("describe an upload: %w", err)
	}
	if err := l.Store.Put(ctx, keyOf(i.ID, info), bytes.NewReader(text)); err != nil {
		return fmt.Errorf("describe an upload: %w", err)
	}
	return nil
}

// limited is a reader that ends in an error after a number of bytes.
type limited struct {
	r    io.Reader
	left int64
	what string
}

func (l *limited) Read(b []byte) (int, error) {
	if int64(len(b)) > l.left+1 {
		b = b[:l.left+1]
	}
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return n, chat.Errorf(chat.TooLarge, "the %s is too large: a picture has at most %d bytes, any other file %d", l.what, PictureBytes, FileBytes)
	}
	return n, err
}

// counter is a reader that knows what passed through it.
type counter struct {
	r    io.Reader
	sum  hash.Hash
	size int64
}

func counted(r io.Reader) *counter { return &counter{r: r, sum: sha256.New()} }

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.size += int64(n)
	c.sum.Write(b[:n]) // never fails
	return n, err
}

func (c *counter) digest() string { return hex.EncodeToString(c.sum.Sum(nil)) }

// shownName returns what is kept of a client's name for a file: no path, nothing
// that is not printed, no more than NameBytes. It names no file here, ever.
func shownName(name string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || r == '/' {
			return -1
		}
		return r
	}, name)
	if name = strings.TrimSpace(name); strings.Trim(name, ".") == "" {
		return ""
	}
	for len(name) > NameBytes {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}
