package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/media/folder"
	"switchboard/storage-worker/rest/transfer"
)

// mediaRig is a rig that keeps media in a folder, and listens.
type mediaRig struct {
	*rig
	dir string
	web *httptest.Server
}

func newMediaRig(t *testing.T) *mediaRig {
	t.Helper()
	m := &mediaRig{rig: newRig(t), dir: t.TempDir()}
	store, err := folder.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keys := filepath.Join(t.TempDir(), "keys")
	if err := mediaurl.Generate(keys); err != nil {
		t.Fatal(err)
	}
	m.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.Handler().ServeHTTP(w, r) }))
	t.Cleanup(m.web.Close)
	if m.Links, err = mediaurl.Open(keys, m.web.URL); err != nil {
		t.Fatal(err)
	}
	m.files.Links = m.Links
	m.files.Library = media.New(media.Config{
		Store: store, Links: m.Links, Scratch: t.TempDir(), Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler),
		Referenced: func(context.Context, chat.MediaID) (bool, error) { return true, nil },
	})
	return m
}

// form is a form with a file.
func form(t testing.TB, name string, file []byte) (contentType string, body []byte) {
	t.Helper()
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), out.Bytes()
}

func (m *mediaRig) upload(u chat.UserID, name string, file []byte) (up wire.Upload) {
	m.t.Helper()
	kind, body := form(m.t, name, file)
	m.do(u, http.StatusCreated, &up, "POST", "/api/v1/media/upload", string(body), "Content-Type", kind)
	return up
}

// get asks for a URL with nothing but headers that the test names.
func (m *mediaRig) get(method, url string, header ...string) (status int, h http.Header, body string) {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), method, url, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := m.web.Client().Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return w.StatusCode, w.Header, string(b)
}

func picture(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, 640, 320))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnUploadOpensWithoutAHeader(t *testing.T) {
	m := newMediaRig(t)
	file := picture(t)
	up := m.upload(alice, "cat.png", file)
	if up.Type != "image/png" || up.Width != 640 || up.Height != 320 || up.Name != "cat.png" || up.Placeholder == "" {
		t.Errorf("got %+v", up)
	}
	status, h, body := m.get("GET", up.MediaURL)
	if status != http.StatusOK || body != string(file) || int(up.Size) != len(file) {
		t.Fatalf("got %d and %d bytes of %d", status, len(body), len(file))
	}
	for name, want := range map[string]string{
		"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
		"Cache-Control": "private, max-age=31536000, immutable", "Content-Disposition": "inline; filename=cat.png", "Accept-Ranges": "bytes",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if status, h, body := m.get("GET", up.MediaURL, "Range", "bytes=1-3"); status != http.StatusPartialContent || body != "PNG" || h.Get("Content-Range") != fmt.Sprintf("bytes 1-3/%d", len(file)) {
		t.Errorf("a range: got %d, %q, %v", status, body, h)
	}
	if status, _, body := m.get("GET", up.MediaURL, "If-None-Match", h.Get("ETag")); status != http.StatusNotModified || body != "" {
		t.Errorf("what is known: got %d", status)
	}
	if status, h, body := m.get("HEAD", up.MediaURL); status != http.StatusOK || body != "" || h.Get("Content-Length") != fmt.Sprint(len(file)) {
		t.Errorf("HEAD: got %d, %v", status, h)
	}
	if status, h, _ := m.get("GET", up.ThumbnailURL); status != http.StatusOK || h.Get("Content-Type") != "image/jpeg" {
		t.Errorf("the thumbnail: got %d, %v", status, h)
	}
	var again wire.Upload
	m.do(alice, http.StatusOK, &again, "GET", "/api/v1/media/"+up.MediaID.String()+"/info", "")
	if again != up {
		t.Errorf("asked again: got %+v, want %+v", again, up)
	}
}

func TestAChangedURLOpensNothing(t *testing.T) {
	m := newMediaRig(t)
	up, other := m.upload(alice, "a", []byte("hello")), m.upload(bob, "b", []byte("secret"))
	for name, url := range map[string]string{
		"another upload": strings.Replace(up.MediaURL, up.MediaID.String(), other.MediaID.String(), 1),
		"no such upload": strings.Replace(up.MediaURL, up.MediaID.String(), chat.NewMediaID(chat.MediaMade(up.MediaID)).String(), 1),
		"a later end":    strings.Replace(up.MediaURL, "exp=", "exp=9", 1),
		"a changed MAC":  strings.Replace(up.MediaURL, "sig=", "sig=x", 1),
	} {
		if status, _, body := m.get("GET", url); status != http.StatusForbidden || strings.Contains(body, "secret") {
			t.Errorf("%s: got %d, %q", name, status, body)
		}
	}
	for _, method := range []string{"PUT", "POST", "DELETE", "PATCH"} {
		if status, h, _ := m.get(method, up.MediaURL); status != http.StatusMethodNotAllowed || h.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: got %d, %v", method, status, h)
		}
	}
	plain := m.web.URL + "/api/v1/media/" + up.MediaID.String()
	if status, _, _ := m.get("GET", plain); status != http.StatusUnauthorized {
		t.Errorf("without anything: got %d", status)
	}
	for _, path := range []string{"/api/v1/media/..%2f..%2fetc%2fpasswd", "/api/v1/media/x", "/api/v1/media/" + up.MediaID.String() + "/original"} {
		if status, _, _ := m.get("GET", m.web.URL+path, "Authorization", "Bearer "+m.token(alice)); status != http.StatusNotFound {
			t.Errorf("%s: got %d", path, status)
		}
	}
}

func TestMembersReadWhatWasSentToThem(t *testing.T) {
	m := newMediaRig(t)
	group, path := m.group(bob)
	up := m.upload(alice, "a.txt", []byte("hello"))
	byToken := "/api/v1/media/" + up.MediaID.String()
	m.do(alice, http.StatusOK, nil, "GET", byToken, "")
	m.refused(bob, chat.NotFound, "GET", byToken, "") // It was not sent.

	body, err := json.Marshal(map[string]string{"type": "file", "content": "", "media_url": up.MediaURL})
	if err != nil {
		t.Fatal(err)
	}
	m.refused(bob, chat.BadRequest, "POST", path+"/messages", string(body)) // It is not his.
	var sent wire.MessageSent
	m.do(alice, http.StatusCreated, &sent, "POST", path+"/messages", string(body))
	m.refer(up, group, sent.MessageID)

	var page wire.MessagePage
	m.do(bob, http.StatusOK, &page, "GET", path+"/messages", "")
	shown := page.Messages[len(page.Messages)-1].MediaURL
	if status, _, got := m.get("GET", shown); status != http.StatusOK || got != "hello" || strings.Contains(shown, "own=") {
		t.Errorf("from history: %s answers %d, %q", shown, status, got)
	}
	var synced wire.SyncResponse
	m.do(bob, http.StatusOK, &synced, "POST", "/api/v1/sync", `{"have":{"`+group.String()+`":1}}`)
	if text := string(synced.Events[0].Data); !strings.Contains(text, strings.Trim(shown, `"`)) {
		t.Errorf("from /sync: got %s, want %s", text, shown)
	}
	var list wire.ConversationList
	m.do(bob, http.StatusOK, &list, "GET", "/api/v1/conversations", "")
	if got := list.Conversations[0].LastMessage.MediaURL; got != shown {
		t.Errorf("from the list: got %s, want %s", got, shown)
	}
	body, err = json.Marshal(map[string]string{"type": "file", "content": "", "media_url": shown})
	if err != nil {
		t.Fatal(err)
	}
	m.refused(alice, chat.BadRequest, "POST", path+"/messages", string(body)) // What everybody sees may not be sent.

	m.do(bob, http.StatusOK, nil, "GET", byToken, "")
	var seen wire.Upload
	m.do(bob, http.StatusOK, &seen, "GET", byToken+"/info", "")
	if seen.MediaURL != shown {
		t.Errorf("a member is told of %s, want %s", seen.MediaURL, shown)
	}
	m.refused(carol, chat.NotFound, "GET", byToken, "")
	m.refused(carol, chat.NotFound, "GET", byToken+"/info", "")
	m.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+bob.String(), "")
	m.refused(bob, chat.NotFound, "GET", byToken, "")
}

// refer notes what the fold does: that a message brought an upload to a conversation.
func (m *mediaRig) refer(up wire.Upload, c chat.ConversationID, by chat.MessageID) {
	m.t.Helper()
	if err := m.store.Write(m.t.Context(), &archive.Batch{Media: []archive.MediaRef{{Media: up.MediaID, Conversation: c, By: by}}}); err != nil {
		m.t.Fatal(err)
	}
}

// An upload is a part of its message: who does not see the one reads nothing of the
// other, as a member either.
func TestWhoDoesNotSeeTheMessageDoesNotReadItsUpload(t *testing.T) {
	m := newMediaRig(t)
	group, path := m.group(bob, carol)
	join := func(u chat.UserID) {
		t.Helper()
		m.do(alice, http.StatusCreated, nil, "PUT", path+"/members/"+u.String(), "")
	}
	leave := func(u chat.UserID) {
		t.Helper()
		m.do(u, http.StatusNoContent, nil, "DELETE", path+"/members/"+u.String(), "")
	}
	reads := func(up wire.Upload, want map[chat.UserID]int) {
		t.Helper()
		for u, status := range want {
			for _, what := range []string{"", "/info"} {
				if w := m.serve(m.request(u, "GET", "/api/v1/media/"+up.MediaID.String()+what, "")); w.Code != status {
					t.Errorf("%v%s: got %d, want %d", u, what, w.Code, status)
				}
			}
		}
	}
	dave := chat.DemoUser("dave")
	up := m.upload(alice, "a.txt", []byte("hello"))
	leave(carol)
	m.refer(up, group, m.say(alice, path, "the file").MessageID)
	join(dave)
	join(carol)
	m.say(alice, path, "after it")
	reads(up, map[chat.UserID]int{alice: http.StatusOK, bob: http.StatusOK, carol: http.StatusNotFound, dave: http.StatusNotFound})
	leave(bob)
	join(bob)
	reads(up, map[chat.UserID]int{bob: http.StatusOK}) // He sees again what he saw.
	m.refer(up, group, m.say(alice, path, "once more").MessageID)
	reads(up, map[chat.UserID]int{bob: http.StatusOK, carol: http.StatusOK, dave: http.StatusOK})
	leave(dave)
	reads(up, map[chat.UserID]int{dave: http.StatusNotFound})
}

func TestWhatIsNoUpload(t *testing.T) {
	m := newMediaRig(t)
	m.refused(alice, chat.UnsupportedMedia, "POST", "/api/v1/media/upload", `{"file":"x"}`)
	kind, body := form(t, "x.png", []byte("\x89PNG\r\n\x1a\n<script>alert(1)</script>"))
	m.refused(alice, chat.UnsupportedMedia, "POST", "/api/v1/media/upload", string(body), "Content-Type", kind)
	kind, body = form(t, "x", nil)
	m.refused(alice, chat.BadRequest, "POST", "/api/v1/media/upload", string(body), "Content-Type", kind)
	m.refused(alice, chat.BadRequest, "POST", "/api/v1/media/upload", string(body[:len(body)-4]), "Content-Type", kind)
	huge := m.request(alice, "POST", "/api/v1/media/upload", "x", "Content-Type", kind)
	huge.ContentLength = 1 << 40
	m.isProblem(m.serve(huge), http.StatusRequestEntityTooLarge, chat.TooLarge)
	m.nothingIsLeft()

	none := newRig(t)
	none.refused(alice, chat.Unavailable, "POST", "/api/v1/media/upload", string(body), "Content-Type", kind)
	none.refused(alice, chat.Unavailable, "GET", "/api/v1/media/"+chat.NewMediaID(chat.MediaMade(chat.MediaID{})).String(), "")
}

func (m *mediaRig) nothingIsLeft() {
	m.t.Helper()
	if err := filepath.WalkDir(m.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			m.t.Errorf("%s is left", name)
		}
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
}

// A client that says another length than it sends is refused, and leaves nothing.
func TestWrongLengths(t *testing.T) {
	m := newMediaRig(t)
	kind, body := form(t, "x.bin", bytes.Repeat([]byte("x"), 100_000))
	for name, c := range map[string]struct {
		header string
		body   []byte
		ends   bool // the server would wait for more
	}{
		"more was said":    {fmt.Sprintf("Content-Length: %d", len(body)+1000), body, true},
		"less was said":    {fmt.Sprintf("Content-Length: %d", len(body)-1000), body, false},
		"it breaks off":    {fmt.Sprintf("Content-Length: %d", len(body)), body[:len(body)/2], true},
		"chunks break off": {"Transfer-Encoding: chunked", append([]byte("100\r\n"), body[:200]...), true},
		"a wrong chunk":    {"Transfer-Encoding: chunked", append([]byte("zz\r\n"), body...), false},
	} {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", m.web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		head := "POST /api/v1/media/upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + m.token(alice) + "\r\nContent-Type: " + kind + "\r\n" + c.header + "\r\n\r\n"
		sent := make(chan error, 1)
		go func() {
			_, err := conn.Write(append([]byte(head), c.body...))
			if c.ends {
				err = errors.Join(err, conn.(*net.TCPConn).CloseWrite())
			}
			sent <- err
		}()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d", name, answer.StatusCode)
		}
		_ = answer.Body.Close()
		if err := <-sent; err != nil && answer.StatusCode != http.StatusBadRequest { // Who refuses need not read all of it.
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.Close()
		m.nothingIsLeft()
	}
}

// tardy is a store that takes its time, unless the request ends.
type tardy struct {
	media.Store
	by time.Duration
}

func (l tardy) Put(ctx context.Context, key string, body io.Reader) error {
	err := l.Store.Put(ctx, key, body)
	select {
	case <-ctx.Done():
		return errors.Join(err, context.Cause(ctx))
	case <-time.After(l.by):
		return err
	}
}

// How long a client may be silent does not count while the store is waited for.
func TestAStoreMayTakeLongerThanAClient(t *testing.T) {
	m := newMediaRig(t)
	const patience = 300 * time.Millisecond
	m.files.Patience = patience
	m.files.Library.Store = tardy{m.files.Library.Store, 2 * patience}
	kind, body := form(t, "x.txt", []byte("hello"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.web.URL+"/api/v1/media/upload", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+m.token(alice))
	r.Header.Set("Content-Type", kind)
	answer, err := m.web.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		b, err := io.ReadAll(answer.Body)
		t.Errorf("got %d, %s, %v", answer.StatusCode, b, err)
	}
}

// watched is a store that tells of what is opened, and with which context.
type watched struct {
	media.Store
	opened func(ctx context.Context, key string)
}

func (w watched) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	w.opened(ctx, key)
	return w.Store.Open(ctx, key, from)
}

// Only bytes may take longer than other calls: what a file is and who may read it is
// asked as fast as anything, also where the store stands still.
func TestOnlyBytesMayTakeLong(t *testing.T) {
	m := newMediaRig(t)
	up := m.upload(alice, "x.txt", []byte("hello"))
	asked := 0
	m.files.Library.Store = watched{m.files.Library.Store, func(ctx context.Context, key string) {
		asked++
		until, ok := ctx.Deadline()
		bytes := strings.HasSuffix(key, "/original")
		if left := time.Until(until); !ok || (left > RequestTimeout) != bytes {
			t.Errorf("%s may take %v", key, left)
		}
		if n := m.inFlight.Load(); (n == 0) != bytes {
			t.Errorf("%s: %d requests are in flight", key, n)
		}
	}}
	byToken := "/api/v1/media/" + up.MediaID.String()
	m.do(alice, http.StatusOK, nil, "GET", byToken+"/info", "")
	m.do(alice, http.StatusOK, nil, "GET", byToken, "")
	if status, _, body := m.get("GET", up.MediaURL); status != http.StatusOK || body != "hello" {
		t.Errorf("got %d, %q", status, body)
	}
	if asked != 5 || m.inFlight.Load() != 0 {
		t.Errorf("the store was asked %d times, %d requests are in flight", asked, m.inFlight.Load())
	}
}

// Whoever has a URL holds up those who read the same upload, and nobody else.
func TestSlowReadersHoldUpNobodyElse(t *testing.T) {
	m := newMediaRig(t)
	up, other := m.upload(alice, "x.txt", []byte("hello")), m.upload(alice, "y.txt", []byte("there"))
	want := func(url string, want int) {
		t.Helper()
		if status, h, body := m.get("GET", url); status != want || (h.Get("Retry-After") != "") != (want == http.StatusServiceUnavailable) {
			t.Errorf("got %d, %s, %v, want %d", status, body, h, want)
		}
	}
	var leave []func()
	enter := func(id chat.MediaID) {
		t.Helper()
		l, err := m.files.Slots.Enter(id)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	for range transfer.TransfersPerUpload {
		enter(up.MediaID)
	}
	want(up.MediaURL, http.StatusServiceUnavailable)
	want(other.MediaURL, http.StatusOK)
	for len(leave) < transfer.TransfersAtOnce {
		enter(chat.MediaID{})
	}
	want(other.MediaURL, http.StatusServiceUnavailable)
	kind, body := form(t, "z.txt", []byte("z"))
	m.refused(alice, chat.Unavailable, "POST", "/api/v1/media/upload", string(body), "Content-Type", kind)
	m.do(alice, http.StatusOK, nil, "GET", "/api/v1/media/"+up.MediaID.String()+"/info", "")
	for _, l := range leave {
		l()
	}
	want(up.MediaURL, http.StatusOK)
	want(other.MediaURL, http.StatusOK)
}

// A URL that has ended opens with a token, for those who may read the upload.
func TestATokenOpensAURLThatHasEnded(t *testing.T) {
	m := newMediaRig(t)
	up := m.upload(alice, "x.txt", []byte("hello"))
	ended := strings.Replace(up.MediaURL, "exp=1", "exp=0", 1)
	for want, header := range map[int][]string{
		http.StatusForbidden:    nil,
		http.StatusOK:           {"Authorization", "Bearer " + m.token(alice)},
		http.StatusNotFound:     {"Authorization", "Bearer " + m.token(carol)},
		http.StatusUnauthorized: {"Authorization", "Bearer x.y.z"},
	} {
		if status, _, body := m.get("GET", ended, header...); status != want {
			t.Errorf("got %d, %s, want %d", status, body, want)
		}
	}
	if status, _, _ := m.get("GET", up.MediaURL, "Authorization", "Bearer x.y.z"); status != http.StatusOK {
		t.Errorf("a good URL with another header: got %d", status)
	}
}

func TestAHundredMegabytesByHTTP(t *testing.T) {
	m := newMediaRig(t)
	const size = 100 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, w := io.Pipe()
	parts := multipart.NewWriter(w)
	go func() {
		part, err := parts.CreateFormFile("file", "backup.bin")
		if err == nil {
			_, err = io.Copy(part, io.LimitReader(zeros{}, size))
		}
		_ = w.CloseWithError(errors.Join(err, parts.Close()))
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.web.URL+"/api/v1/media/upload", r)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+m.token(alice))
	request.Header.Set("Content-Type", parts.FormDataContentType())
	answer, err := m.web.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var up wire.Upload
	if err := json.NewDecoder(answer.Body).Decode(&up); err != nil || answer.StatusCode != http.StatusCreated || up.Size != size {
		t.Fatalf("got %d, %+v, %v", answer.StatusCode, up, err)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 32<<20 {
		t.Errorf("the process grew by %d bytes, want less than 32 MiB", grown)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// direct is a store from which clients can read.
type direct struct{ media.Store }

func (direct) Direct(_ context.Context, method, key, kind, disposition string, _ time.Duration) (string, error) {
	return "https://cdn.example/" + key + "?" + url.Values{"method": {method}, "type": {kind}, "disposition": {disposition}}.Encode(), nil
}

func TestClientsAreSentToTheStore(t *testing.T) {
	m := newMediaRig(t)
	m.files.Library.Store = direct{m.files.Library.Store}
	up := m.upload(alice, "x.html", []byte("<script>alert(1)</script>"))
	m.web.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, method := range []string{"GET", "HEAD"} {
		status, h, body := m.get(method, up.MediaURL)
		if body != "" || h.Get("Content-Type") != "" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a redirection brings %q, %v; want no page", method, body, h)
		}
		at, err := url.Parse(h.Get("Location"))
		if err != nil || status != http.StatusFound || at.Host != "cdn.example" || !strings.HasSuffix(at.Path, up.MediaID.String()+"/original") {
			t.Fatalf("%s: got %d, %s, %v", method, status, at, err)
		}
		want := url.Values{"method": {method}, "type": {"application/octet-stream"}, "disposition": {"attachment; filename=x.html"}}
		if got := at.Query(); got.Encode() != want.Encode() || h.Get("Cache-Control") != "private, max-age=600" {
			t.Errorf("%s: got %v, %s; want %v", method, got, h.Get("Cache-Control"), want)
		}
	}
	if status, _, _ := m.get("GET", strings.Replace(up.MediaURL, "sig=", "sig=x", 1)); status != http.StatusForbidden {
		t.Errorf("a changed URL: got %d", status)
	}
}
