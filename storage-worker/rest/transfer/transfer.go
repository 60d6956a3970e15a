// Package transfer moves files between HTTP and the library of media: forms that
// come in, with a deadline for each read, and contents that go out, with the headers
// that keep a browser from running what somebody uploaded.
//
//	POST …/upload ──Receive──▶ media.Library ──Give──▶ GET …/{id}: bytes, or a URL of the store
//	POST /api/v1/media ──Begin──▶ a URL of the store; client ──PUT──▶ store
//	POST …/{id}/complete ──Complete──▶ media.Library
//
// Who may do so is the business of package rest, whose requests these are.
package transfer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/internal/wire"
	"switchboard/storage-worker/media"
)

const (
	// DownloadTimeout bounds how long the reading of an upload may take.
	DownloadTimeout = 2 * time.Hour
	// WriteTimeout bounds how long it may stand still.
	WriteTimeout = time.Minute
	// CompleteTimeout bounds the reading and storing of what lies in the store.
	CompleteTimeout = 10 * time.Minute
	// formBytes is what a form may have beside its file.
	formBytes = 1 << 20
)

// ErrNone says that this server has no store.
var ErrNone = &chat.Error{Code: chat.Unavailable, Message: "this server keeps no media", RetryAfter: time.Minute}

// Files is what moves. Without a Library every call is [ErrNone].
type Files struct {
	Library *media.Library
	Links   *mediaurl.Links
	// Patience is how long a body may bring nothing; 0: [media.Patience].
	Patience time.Duration
	Slots    *Slots
}

// Receive stores the file of a form.
func (f Files) Receive(w http.ResponseWriter, r *http.Request, who chat.UserID) (u wire.Upload, err error) {
	if f.Library == nil {
		return u, ErrNone
	}
	if r.ContentLength > media.FileBytes+formBytes {
		return u, chat.Errorf(chat.TooLarge, "the file is longer than %d bytes", media.FileBytes)
	}
	control := http.NewResponseController(w)
	r.Body = io.NopCloser(media.Paced(r.Body, media.Pace{Patience: f.Patience, Until: func(until time.Time) error {
		if err := control.SetReadDeadline(until); !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil // It is no connection that could stand still.
	}}))
	defer func() { _ = control.SetWriteDeadline(time.Now().Add(WriteTimeout)) }() // It was counted from the header on.
	form, err := r.MultipartReader()
	if err != nil {
		return u, chat.Errorf(chat.UnsupportedMedia, "the body must be a form: multipart/form-data")
	}
	name, body, err := media.FileIn(form)
	if err != nil {
		return u, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), media.UploadTimeout)
	defer cancel()
	about, err := f.Library.Upload(ctx, who, name, &whole{file: body, rest: r.Body})
	if err != nil {
		return u, err
	}
	return f.Describe(about, who), nil
}

// Begin lets a client write a file into the store by itself.
func (f Files) Begin(ctx context.Context, who chat.UserID, asked wire.BeginUpload) (d wire.DirectUpload, err error) {
	if f.Library == nil {
		return d, ErrNone
	}
	p, err := f.Library.Begin(ctx, who, asked.Name, asked.Size)
	if err != nil {
		return d, err
	}
	return wire.DirectUpload{UploadID: p.ID, Method: http.MethodPut, URL: p.URL, Size: p.Size, ExpiresAt: p.Ends.Unix()}, nil
}

// Complete makes an upload of what a client has written into the store.
func (f Files) Complete(w http.ResponseWriter, r *http.Request, who chat.UserID, id chat.MediaID) (u wire.Upload, err error) {
	if f.Library == nil {
		return u, ErrNone
	}
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Now().Add(WriteTimeout)) }() // It was counted from the header on.
	ctx, cancel := context.WithTimeout(r.Context(), CompleteTimeout)
	defer cancel()
	about, err := f.Library.Complete(ctx, who, id)
	if err != nil {
		return u, err
	}
	return f.Describe(about, who), nil
}

// whole is a file that has ended when the request has: with as many bytes as its
// header says.
type whole struct{ file, rest io.Reader }

// Read implements [io.Reader].
func (w *whole) Read(b []byte) (int, error) {
	n, err := w.file.Read(b)
	if err != io.EOF { //nolint:errorlint // one that is wrapped is no end
		return n, err
	}
	more, err := io.Copy(io.Discard, io.LimitReader(w.rest, formBytes))
	if err != nil || more == formBytes {
		return n, chat.Errorf(chat.BadRequest, "the body did not arrive whole, or goes on behind the form")
	}
	return n, io.EOF
}

// Info returns what is known of an upload, or [media.ErrNoUpload].
func (f Files) Info(ctx context.Context, id chat.MediaID) (*media.Info, error) {
	if f.Library == nil {
		return nil, ErrNone
	}
	return f.Library.Info(ctx, id)
}

// Describe is what a reader is told of an upload. Only its owner gets a URL that may
// be sent.
func (f Files) Describe(i *media.Info, who chat.UserID) wire.Upload {
	u := wire.Upload{
		MediaID: i.ID, MediaURL: f.Links.Signed(chat.MediaPath(i.ID)), Type: i.Type, Size: i.Size, Name: i.Name,
		Width: i.Width, Height: i.Height, Placeholder: i.Placeholder,
	}
	if who == i.Owner {
		u.MediaURL = f.Links.Issued(i.ID, who)
	}
	if i.Thumbnail != nil {
		u.ThumbnailURL = f.Links.Thumbnail(i.ID)
	}
	return u
}

// Give answers with an upload or its thumbnail, or with where the store has it, and
// returns the status. After an error nothing is written yet.
func (f Files) Give(w http.ResponseWriter, r *http.Request, about *media.Info, small bool) (status int, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), DownloadTimeout)
	defer cancel()
	content, err := f.Library.Content(ctx, about, small)
	if err != nil {
		return 0, err
	}
	defer content.Close() // it was only read
	direct, err := content.Direct(r.Method)
	if err != nil {
		return 0, err
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // Pages of other hosts show it: who has the URL may.
	if direct != "" {
		h.Set("Cache-Control", "private, max-age=600")
		h.Set("Location", direct)
		w.WriteHeader(http.StatusFound) // Without the page that http.Redirect writes.
		return http.StatusFound, nil
	}
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("Content-Type", content.Type)
	h.Set("Content-Disposition", content.Disposition)
	h.Set("ETag", content.ETag)
	out := &patient{ResponseWriter: w, control: http.NewResponseController(w), status: http.StatusOK}
	http.ServeContent(out, r, "", content.Made, content)
	return out.status, nil
}

// patient is an answer that may take long, but not stand still.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
}

// WriteHeader implements [http.ResponseWriter].
func (p *patient) WriteHeader(status int) {
	p.status = status
	p.ResponseWriter.WriteHeader(status)
}

// Write implements [io.Writer].
func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(WriteTimeout)) // Where there is none, nothing stands still.
	return p.ResponseWriter.Write(b)
}
