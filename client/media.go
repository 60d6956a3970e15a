package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"

	"switchboard/internal/wire"
)

// Upload stores what body holds, under a name that others are shown; its MediaURL
// can then be sent, for 20 hours. The body is sent as it is read, and once: after an
// error, upload anew.
func (r *REST) Upload(ctx context.Context, name string, body io.Reader) (wire.Upload, error) {
	const path = "/api/v1/media/upload"
	token, err := r.Token(ctx)
	if err != nil {
		return wire.Upload{}, fmt.Errorf("upload: token: %w", err)
	}
	in, out := io.Pipe()
	form := multipart.NewWriter(out)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Base+path, in)
	if err != nil {
		return wire.Upload{}, fmt.Errorf("upload: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", form.FormDataContentType())
	written := make(chan struct{})
	go func() {
		defer close(written)
		part, err := form.CreateFormFile("file", name)
		if err == nil {
			_, err = io.Copy(part, body)
		}
		if err == nil {
			err = form.Close()
		}
		_ = out.CloseWithError(err) // always nil
	}()
	var answer wire.Upload
	err = r.exchange(request, &answer)
	err = errors.Join(err, in.Close()) // Whoever is refused early need not read the body to its end.
	<-written
	return answer, err
}
