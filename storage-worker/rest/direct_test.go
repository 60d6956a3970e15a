package rest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/media"
)

// inlet is a store into which clients write by themselves, at a server of its own.
type inlet struct {
	media.Store
	web *httptest.Server
}

func (s inlet) Inlet(_ context.Context, key string, size int64, _ time.Duration) (string, error) {
	return fmt.Sprintf("%s/%s?size=%d", s.web.URL, key, size), nil
}

// takes lets clients write into the store.
func (m *mediaRig) takes() {
	store := m.files.Library.Store
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || fmt.Sprint(r.ContentLength) != r.URL.Query().Get("size") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if err := store.Put(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), r.Body); err != nil {
			m.t.Error(err)
		}
	}))
	m.t.Cleanup(web.Close)
	m.files.Library.Store = inlet{store, web}
}

// put does what a client is told to.
func (m *mediaRig) put(begun wire.DirectUpload, body []byte) (status int) {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), begun.Method, begun.URL, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		m.t.Fatal(err)
	}
	return answer.StatusCode
}

func (m *mediaRig) begin(u chat.UserID, name string, size int) (begun wire.DirectUpload) {
	m.t.Helper()
	m.do(u, http.StatusCreated, &begun, "POST", "/api/v1/media", fmt.Sprintf(`{"size":%d,"name":%q}`, size, name))
	return begun
}

func TestADirectUploadIsReadAndSentWhenItIsComplete(t *testing.T) {
	m := newMediaRig(t)
	m.takes()
	_, group := m.group(bob)
	file := picture(t)
	begun := m.begin(alice, "../cat.png", len(file))
	if left := time.Until(time.Unix(begun.ExpiresAt, 0)); begun.Method != http.MethodPut || begun.Size != int64(len(file)) || left > media.InletLifetime || left < media.InletLifetime-time.Minute {
		t.Errorf("got %+v", begun)
	}
	if status := m.put(begun, file[1:]); status != http.StatusForbidden {
		t.Errorf("fewer bytes: got %d", status)
	}
	complete := "/api/v1/media/" + begun.UploadID.String() + "/complete"
	m.refused(alice, chat.BadRequest, "POST", complete, "")
	if status := m.put(begun, file); status != http.StatusOK {
		t.Fatalf("got %d", status)
	}
	m.refused(alice, chat.NotFound, "GET", "/api/v1/media/"+begun.UploadID.String(), "")
	m.refused(alice, chat.NotFound, "GET", "/api/v1/media/"+begun.UploadID.String()+"/info", "")
	m.refused(bob, chat.NotFound, "POST", complete, "")
	guess := m.Links.Signed(chat.MediaPath(begun.UploadID)) // Nobody is told it.
	if status, _, _ := m.get("GET", guess); status != http.StatusNotFound {
		t.Errorf("opened before it is complete: got %d", status)
	}
	m.refused(alice, chat.BadRequest, "POST", group+"/messages", `{"type":"image","content":"","media_url":"`+guess+`"}`)

	var up, again wire.Upload
	m.do(alice, http.StatusCreated, &up, "POST", complete, "")
	want := m.upload(alice, "../cat.png", file)
	if up.MediaID == begun.UploadID || up.Type != "image/png" || up.Name != "cat.png" || up.Size != want.Size || up.Width != want.Width || up.Height != want.Height || up.Placeholder != want.Placeholder || up.ThumbnailURL == "" {
		t.Errorf("got %+v, want as %+v", up, want)
	}
	if m.do(alice, http.StatusCreated, &again, "POST", complete, "{}"); again.MediaID != up.MediaID {
		t.Errorf("once more: got %+v, want %+v", again, up)
	}
	if status, _, body := m.get("GET", up.MediaURL); status != http.StatusOK || body != string(file) {
		t.Errorf("got %d, %d bytes, want %d", status, len(body), len(file))
	}
	m.do(alice, http.StatusCreated, nil, "POST", group+"/messages", `{"type":"image","content":"","media_url":"`+up.MediaURL+`"}`)
	m.refused(bob, chat.NotFound, "POST", complete, "")
}

func TestDirectUploadsThatAreRefused(t *testing.T) {
	m := newMediaRig(t)
	m.refused(alice, chat.NotFound, "POST", "/api/v1/media", `{"size":5}`) // A folder.
	m.takes()
	for body, want := range map[string]chat.Code{
		``: chat.BadRequest, `{}`: chat.BadRequest, `{"size":-1}`: chat.BadRequest, `{"size":"5"}`: chat.BadRequest,
		fmt.Sprintf(`{"size":%d}`, media.FileBytes+1): chat.TooLarge,
	} {
		m.refused(alice, want, "POST", "/api/v1/media", body)
	}
	for _, id := range []string{"x", "..%2f..%2finfo", chat.NewMediaID(time.Now()).String()} {
		m.refused(alice, chat.NotFound, "POST", "/api/v1/media/"+id+"/complete", "")
	}
	script := []byte("\x89PNG\r\n\x1a\n<script>")
	begun := m.begin(alice, "cat.png", len(script))
	m.put(begun, script)
	complete := "/api/v1/media/" + begun.UploadID.String() + "/complete"
	m.refused(alice, chat.TooLarge, "POST", complete, `{"a":"`+strings.Repeat("x", SmallBodyBytes)+`"}`)
	m.refused(alice, chat.UnsupportedMedia, "POST", complete, "")
	m.refused(alice, chat.NotFound, "POST", complete, "")
	m.nothingIsLeft()
	for range media.PendingPerUser {
		m.begin(alice, "a", 5)
	}
	w := m.refused(alice, chat.RateLimited, "POST", "/api/v1/media", `{"size":5}`)
	if w.Header().Get("Retry-After") == "" {
		t.Error("it is not said when to come again")
	}
	none := newRig(t)
	none.refused(alice, chat.Unavailable, "POST", "/api/v1/media", `{"size":5}`)
	none.refused(alice, chat.Unavailable, "POST", complete, "")
}

// How long a request may take to come does not count while the store is waited for.
func TestCompletingMayTakeLongerThanARequest(t *testing.T) {
	m := newMediaRig(t)
	m.takes()
	begun := m.begin(alice, "a", 5)
	m.put(begun, []byte("hello"))
	const patience = 300 * time.Millisecond
	m.files.Library.Store = tardy{m.files.Library.Store, 2 * patience}
	web := httptest.NewUnstartedServer(m.Handler())
	web.Config.ReadTimeout, web.Config.WriteTimeout = patience, patience
	web.Start()
	defer web.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+"/api/v1/media/"+begun.UploadID.String()+"/complete", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+m.token(alice))
	answer, err := web.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Errorf("got %s", answer.Status)
	}
}
