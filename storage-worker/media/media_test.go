package media_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"log/slog"
	"mime/multipart"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/media/folder"
	"switchboard/storage-worker/media/picture"
)

var alice = chat.DemoUser("alice")

// place is a library in a folder, at a time that the test moves.
type place struct {
	*media.Library
	dir  string
	now  time.Time
	sent map[chat.MediaID]bool
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{dir: t.TempDir(), now: time.Date(2026, 3, 4, 5, 30, 0, 0, time.UTC), sent: map[chat.MediaID]bool{}}
	store, err := folder.Open(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	p.Library = media.New(media.Config{
		Store: store, Scratch: t.TempDir(), Now: func() time.Time { return p.now }, Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler),
		Referenced: func(_ context.Context, id chat.MediaID) (bool, error) { return p.sent[id], nil },
	})
	return p
}

// files returns all files of the place, those that are being written as well.
func (p *place) files(t *testing.T) (names []string) {
	t.Helper()
	for _, dir := range []string{p.dir, p.Scratch} {
		if err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				names = append(names, strings.TrimPrefix(name, dir))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func (p *place) upload(t *testing.T, name string, body []byte) *media.Info {
	t.Helper()
	i, err := p.Upload(t.Context(), alice, name, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// content returns an object of an upload as it is served.
func (p *place) content(t *testing.T, i *media.Info, small bool) (*media.Content, []byte) {
	t.Helper()
	c, err := p.Content(t.Context(), i, small)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || c.Close() != nil {
		t.Fatal(err)
	}
	return c, b
}

func photo(t *testing.T, w, h int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = byte(i) | 0x80
	}
	img.SetRGBA(0, 0, color.RGBA{A: 255})
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAPictureHasAThumbnailAndAPlaceholder(t *testing.T) {
	p := newPlace(t)
	i := p.upload(t, `C:\holiday\cat.jpg`, photo(t, 800, 400))
	if i.Type != "image/jpeg" || i.Width != 800 || i.Height != 400 || i.Name != "cat.jpg" || !strings.HasPrefix(i.Placeholder, "data:image/png;base64,") {
		t.Errorf("got %+v", i)
	}
	again, err := p.Info(t.Context(), i.ID)
	if err != nil || again.Owner != alice || again.Digest != i.Digest || *again.Thumbnail != *i.Thumbnail {
		t.Errorf("got %+v, %v; want %+v", again, err, i)
	}
	c, body := p.content(t, i, false)
	if c.Type != "image/jpeg" || c.Disposition != "inline; filename=cat.jpg" || int64(len(body)) != i.Size {
		t.Errorf("got %s, %s, %d bytes of %d", c.Type, c.Disposition, len(body), i.Size)
	}
	c, body = p.content(t, i, true)
	small, err := jpeg.Decode(bytes.NewReader(body))
	if err != nil || small.Bounds().Dx() != 320 || small.Bounds().Dy() != 160 || c.Type != "image/jpeg" {
		t.Errorf("the thumbnail is %v, %v", c.Type, err)
	}
}

func TestWhatABrowserMightRunIsOnlyBytes(t *testing.T) {
	p := newPlace(t)
	for name, text := range map[string]string{
		"cat.png":  "<!DOCTYPE html><script>alert(1)</script>",
		"cat.svg":  `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`,
		"cat2.svg": `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`,
		"cat.js":   "alert(1)", "cat.jpg": "%PDF-1.7\n", "cat.gif": "<?xml version=\"1.0\"?><x:script xmlns:x=\"http://www.w3.org/1999/xhtml\">alert(1)</x:script>",
	} {
		i := p.upload(t, name, []byte(text))
		c, body := p.content(t, i, false)
		if c.Type != "application/octet-stream" || c.Disposition != "attachment; filename="+name || string(body) != text {
			t.Errorf("%s: served as %s, %s, %q", name, c.Type, c.Disposition, body)
		}
		if _, err := p.Content(t.Context(), i, true); !errors.Is(err, media.ErrNoUpload) {
			t.Errorf("%s: has a thumbnail: %v", name, err)
		}
	}
}

// pngHeader is a PNG that says it is so large.
func pngHeader(w, h uint32) []byte {
	chunk := func(name, body string) string {
		b := name + body
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + b + string(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(b))))
	}
	size := string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h))
	return []byte("\x89PNG\r\n\x1a\n" + chunk("IHDR", size+"\x08\x06\x00\x00\x00") + chunk("IDAT", "x") + chunk("IEND", ""))
}

// growth returns by how much the process grew while f ran, in bytes: memory that was
// got from the system.
func growth(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.Sys) - int64(before.Sys)
}

func TestABombIsRefusedBeforeItIsDecoded(t *testing.T) {
	p := newPlace(t)
	if got := growth(func() {
		if _, err := p.Upload(t.Context(), alice, "bomb.png", bytes.NewReader(pngHeader(50_000, 50_000))); code(err) != chat.TooLarge {
			t.Errorf("got %v, want %s", err, chat.TooLarge)
		}
	}); got > 16<<20 {
		t.Errorf("the process grew by %d bytes", got)
	}
	if left := p.files(t); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func code(err error) chat.Code {
	if known, ok := errors.AsType[*chat.Error](err); ok {
		return known.Code
	}
	return ""
}

func TestAHundredMegabytesPassThrough(t *testing.T) {
	p := newPlace(t)
	const size = 100 << 20
	var i *media.Info
	got := growth(func() {
		var err error
		if i, err = p.Upload(t.Context(), alice, "backup.bin", io.LimitReader(zeros{}, size)); err != nil {
			t.Fatal(err)
		}
	})
	if got > 32<<20 || i.Size != size {
		t.Errorf("%d bytes were stored and the process grew by %d, want less than 32 MiB", i.Size, got)
	}
	got = growth(func() {
		c, err := p.Content(t.Context(), i, false)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); err != nil || n != size || c.Close() != nil {
			t.Errorf("read %d, %v", n, err)
		}
	})
	if got > 32<<20 {
		t.Errorf("to give it, the process grew by %d", got)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestBrokenAndEndlessUploadsLeaveNothing(t *testing.T) {
	p := newPlace(t)
	gone := errors.New("the client went away")
	jpg := photo(t, 64, 64)
	for name, c := range map[string]struct {
		body io.Reader
		want error
		code chat.Code
	}{
		"no bytes":                {body: strings.NewReader(""), code: chat.BadRequest},
		"broken at once":          {body: iotest.ErrReader(gone), want: gone},
		"broken early":            {body: io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(gone)), want: gone},
		"cut off early":           {body: io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(io.ErrUnexpectedEOF)), want: io.ErrUnexpectedEOF},
		"broken later":            {body: io.MultiReader(io.LimitReader(zeros{}, 1<<20), iotest.ErrReader(gone)), want: gone},
		"cut off later":           {body: io.MultiReader(io.LimitReader(zeros{}, 1<<20), iotest.ErrReader(io.ErrUnexpectedEOF)), want: io.ErrUnexpectedEOF},
		"a picture, broken":       {body: io.MultiReader(bytes.NewReader(jpg[:len(jpg)/2]), iotest.ErrReader(gone)), want: gone},
		"a picture, cut off":      {body: bytes.NewReader(jpg[:len(jpg)/2]), code: chat.UnsupportedMedia},
		"endless":                 {body: zeros{}, code: chat.TooLarge},
		"an endless picture":      {body: io.MultiReader(bytes.NewReader(jpg), zeros{}), code: chat.TooLarge},
		"HTML behind a signature": {body: strings.NewReader("\x89PNG\r\n\x1a\n<script>alert(1)</script>"), code: chat.UnsupportedMedia},
		"a PNG without pixels":    {body: bytes.NewReader(pngHeader(10, 10)), code: chat.UnsupportedMedia},
		"a GIF of many frames":    {body: bytes.NewReader(animation(1, 1, picture.FramesMax+1)), code: chat.TooLarge},
		"a GIF of many pixels":    {body: bytes.NewReader(animation(10_000, 10_000, 20)), code: chat.TooLarge},
		"a HEIC of nothing":       {body: strings.NewReader("\x00\x00\x00\x10ftypheic\x00\x00\x00\x00<script>"), code: chat.UnsupportedMedia},
		"a HEIC, cut off":         {body: strings.NewReader(heic[:len(heic)-1]), code: chat.UnsupportedMedia},
		"a HEIC, broken":          {body: io.MultiReader(strings.NewReader(heic[:len(heic)-1]), iotest.ErrReader(gone)), want: gone},
	} {
		_, err := p.Upload(t.Context(), alice, "x", c.body)
		if c.want != nil && !errors.Is(err, c.want) || c.code != "" && code(err) != c.code {
			t.Errorf("%s: got %v, want %v%s", name, err, c.want, c.code)
		}
		if left := p.files(t); len(left) > 0 {
			t.Fatalf("%s: %v is left", name, left)
		}
	}
}

// animation is a GIF of frames of one pixel, on a screen of any size.
func animation(w, h uint16, frames int) []byte {
	file := binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte("GIF89a"), w), h)
	file = append(file, "\x80\x00\x00\x00\x00\x00\xff\xff\xff"...)
	for range frames {
		file = append(file, ",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"...)
	}
	return append(file, ';')
}

// As many frames as there may be are an animation, of the same making.
func TestAnAnimationAtTheLimitIsTaken(t *testing.T) {
	p := newPlace(t)
	if i := p.upload(t, "a.gif", animation(1, 1, picture.FramesMax)); i.Type != picture.GIF || i.Thumbnail == nil {
		t.Errorf("got %+v", i)
	}
}

// somewhere is what no picture and no film of a phone keeps.
const somewhere = "+59.9386+030.3141/"

var (
	// heic is a picture with Exif, and film is one, both without pixels.
	heic = "\x00\x00\x00\x10ftypheic\x00\x00\x00\x00" +
		"\x00\x00\x00\x5fmeta\x00\x00\x00\x00" +
		"\x00\x00\x00\x23iinf\x00\x00\x00\x00\x00\x01\x00\x00\x00\x15infe\x02\x00\x00\x00\x00\x02\x00\x00Exif\x00" +
		"\x00\x00\x00\x1eiloc\x00\x00\x00\x00\x44\x00\x00\x01\x00\x02\x00\x00\x00\x01\x00\x00\x00\x7d\x00\x00\x00\x12" +
		"\x00\x00\x00\x12pitm\x00\x00\x00\x00\x00\x01...." +
		"\x00\x00\x00\x20mdatpixels" + somewhere
	film = "\x00\x00\x00\x14ftypisom\x00\x00\x02\x00mp41\x00\x00\x00\x0emdatpixels" +
		"\x00\x00\x00\x2emoov\x00\x00\x00\x26udta\x00\x00\x00\x1e\xa9xyz\x00\x12\x15\xc7" + somewhere
)

// A picture or a film of a phone is a file like any other, but that it does not say
// where it was made. What cannot be read here keeps what is in it: protocol.md says so.
func TestWhatPhonesMakeDoesNotSayWhere(t *testing.T) {
	p, s := newInlet(t)
	for name, c := range map[string]struct {
		file, kind string
		stays      bool
	}{
		"cat.heic": {file: heic, kind: "application/octet-stream"},
		"cat.avif": {file: strings.ReplaceAll(heic, "heic", "avif"), kind: "application/octet-stream"},
		"cat.mp4":  {file: film, kind: "video/mp4"},
		"cat.mov":  {file: strings.Replace(strings.Replace(film, "isom", "qt  ", 1), "mp41", "qt  ", 1), kind: "application/octet-stream"},
		"cat.tiff": {"MM\x00*\x00\x00\x00\x08" + somewhere, "application/octet-stream", true},
		"cat.txt":  {somewhere, "text/plain", true},
	} {
		begun := p.begin(t, name, len(c.file))
		s.put(t, begun, []byte(c.file))
		direct, err := p.Complete(t.Context(), alice, begun.ID)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, i := range []*media.Info{p.upload(t, name, []byte(c.file)), direct} {
			_, body := p.content(t, i, false)
			if i.Type != c.kind || int(i.Size) != len(c.file) || len(body) != len(c.file) || i.Thumbnail != nil {
				t.Errorf("%s: got %+v and %d bytes of %d", name, i, len(body), len(c.file))
			}
			if got := bytes.Contains(body, []byte(somewhere)); got != c.stays {
				t.Errorf("%s: it says where: %v, want %v", name, got, c.stays)
			}
			if !c.stays && !bytes.Contains(body, []byte("pixels")) {
				t.Errorf("%s: got %q; where are the pixels?", name, body)
			}
		}
	}
}

func TestNamesLeadNowhere(t *testing.T) {
	p := newPlace(t)
	for name, want := range map[string]string{
		"../../etc/passwd": "passwd", `..\..\boot.ini`: "boot.ini", "/": "", "..": "", ".": "", "": "", "a\r\nSet-Cookie: x": "aSet-Cookie: x",
		"\x00x\u202etxt.exe": "xtxt.exe", "день рождения.txt": "день рождения.txt", strings.Repeat("я", 200): strings.Repeat("я", 127),
	} {
		i := p.upload(t, name, []byte("hello"))
		if i.Name != want {
			t.Errorf("%q became %q, want %q", name, i.Name, want)
		}
		if c, _ := p.content(t, i, false); strings.ContainsAny(c.Disposition, "\r\n") {
			t.Errorf("%q makes the header %q", name, c.Disposition)
		}
	}
	for _, file := range p.files(t) {
		if strings.Contains(file, "passwd") || !strings.HasPrefix(file, "/2026030405/") {
			t.Errorf("a client's name made the file %s", file)
		}
	}
}

func TestContentIsReadFromAnyPlace(t *testing.T) {
	p := newPlace(t)
	i := p.upload(t, "a", []byte("0123456789"))
	c, err := p.Content(t.Context(), i, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		offset int64
		whence int
		want   string
	}{{0, io.SeekEnd, ""}, {0, io.SeekStart, "0123456789"}, {-3, io.SeekEnd, "789"}, {-5, io.SeekCurrent, "56789"}} {
		if _, err := c.Seek(s.offset, s.whence); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != s.want {
			t.Errorf("%+v: got %q, %v", s, got, err)
		}
	}
	if _, err := c.Seek(-1, io.SeekStart); err == nil {
		t.Error("there is something before the beginning")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestContentEndsWithItsRequest(t *testing.T) {
	p := newPlace(t)
	i := p.upload(t, "a", []byte("0123456789"))
	ctx, cancel := context.WithCancel(t.Context())
	c, err := p.Content(ctx, i, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := c.Read(make([]byte, 3)); n > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d bytes, %v; want %v", n, err, context.Canceled)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestAUserHasFewUploadsAtOnce(t *testing.T) {
	p := newPlace(t)
	hold, reading := make(chan struct{}), make(chan struct{})
	ended := make(chan error)
	for range media.UploadsPerUser {
		go func() {
			_, err := p.Upload(context.Background(), alice, "a", &held{reading: reading, hold: hold, Reader: strings.NewReader("x")})
			ended <- err
		}()
		<-reading
	}
	if _, err := p.Upload(t.Context(), alice, "a", strings.NewReader("x")); code(err) != chat.Unavailable {
		t.Errorf("got %v, want %s", err, chat.Unavailable)
	}
	if _, err := p.Upload(t.Context(), chat.DemoUser("bob"), "a", strings.NewReader("x")); err != nil {
		t.Errorf("another user: %v", err)
	}
	close(hold)
	for range media.UploadsPerUser {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	p.upload(t, "a", []byte("x"))
}

// held says that it is read and then waits.
type held struct {
	reading, hold chan struct{}
	io.Reader
}

func (h *held) Read(b []byte) (int, error) {
	if h.reading != nil {
		h.reading <- struct{}{}
		h.reading = nil
		<-h.hold
	}
	return h.Reader.Read(b)
}

func TestAFormHasEndedWhenAllOfItHas(t *testing.T) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	field, err1 := w.CreateFormField("note")
	_, err2 := io.WriteString(field, "hello")
	file, err3 := w.CreateFormFile("file", "../cat.txt")
	_, err4 := io.WriteString(file, "meow")
	if err := errors.Join(err1, err2, err3, err4, w.Close()); err != nil {
		t.Fatal(err)
	}
	read := func(text []byte) (string, string, error) {
		name, body, err := media.FileIn(multipart.NewReader(bytes.NewReader(text), w.Boundary()))
		if err != nil {
			return "", "", err
		}
		b, err := io.ReadAll(body)
		return name, string(b), err
	}
	whole := form.Bytes()
	if name, body, err := read(whole); err != nil || body != "meow" || name != "cat.txt" {
		t.Errorf("got %q, %q, %v", name, body, err)
	}
	for cut := range len(whole) - len("--\r\n") {
		if _, body, err := read(whole[:cut]); err == nil {
			t.Fatalf("cut off after %d of %d bytes: got %q and no error", cut, len(whole), body)
		}
	}
	more := strings.Replace(string(whole), "--"+w.Boundary()+"--", "--"+w.Boundary()+"\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nx\r\n--"+w.Boundary()+"--", 1)
	if _, _, err := read([]byte(more)); code(err) != chat.BadRequest {
		t.Errorf("a part behind the file: got %v, want %s", err, chat.BadRequest)
	}
	for name, text := range map[string]string{
		"no file":      "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n",
		"a long field": "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + strings.Repeat("b", 1<<17) + "\r\n--x--\r\n",
		"many fields":  strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n", 20) + "--x--\r\n",
	} {
		if _, _, err := media.FileIn(multipart.NewReader(strings.NewReader(text), "x")); code(err) != chat.BadRequest {
			t.Errorf("%s: got %v, want %s", name, err, chat.BadRequest)
		}
	}
}

func TestSlowUploadsHaveADeadline(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	began := now
	var deadline time.Time
	body := media.Paced(zeros{}, media.Pace{Now: func() time.Time { return now }, Until: func(until time.Time) error { deadline = until; return nil }})
	read := func(n int, want time.Duration) {
		t.Helper()
		if _, err := io.ReadFull(body, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if got := deadline.Sub(began); got != want {
			t.Errorf("a read may last until %v, want %v", got, want)
		}
	}
	read(media.SlowestBytesPerSecond, media.Patience)
	now = now.Add(29 * time.Second)
	read(1, media.Patience+time.Second) // It has brought what a second must bring.
	now = now.Add(time.Second)
	read(1, media.Patience+time.Second+time.Second/media.SlowestBytesPerSecond)
	if _, err := body.Read(make([]byte, 8<<20)); err != nil { // Fast, for once: that buys no endless pause.
		t.Fatal(err)
	}
	read(1, 30*time.Second+media.Patience)
	refused := errors.New("no deadline")
	if _, err := media.Paced(zeros{}, media.Pace{Until: func(time.Time) error { return refused }}).Read(nil); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
}

func TestABodyThatHasEndedHasNoDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		body io.Reader
		want error
		none bool // no deadline is left
	}{
		"the end":              {strings.NewReader("x"), io.EOF, true},
		"the end with a byte":  {iotest.DataErrReader(strings.NewReader("x")), io.EOF, true},
		"a client that is off": {io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF, false},
	} {
		var deadline time.Time
		set := 0
		body := media.Paced(c.body, media.Pace{Until: func(until time.Time) error { deadline, set = until, set+1; return nil }})
		_, err := io.ReadAll(body)
		before := set
		_, again := body.Read(make([]byte, 1))
		if (err != nil && !errors.Is(err, c.want)) || !errors.Is(again, c.want) || deadline.IsZero() != c.none || set != before {
			t.Errorf("%s: got %v and %v, until %v, which was set %d times more", name, err, again, deadline, set-before)
		}
	}
}

func TestAThumbnailOfAPNGStaysTransparent(t *testing.T) {
	p := newPlace(t)
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewNRGBA(image.Rect(0, 0, 40, 20))); err != nil {
		t.Fatal(err)
	}
	i := p.upload(t, "a.png", out.Bytes())
	if c, _ := p.content(t, i, true); c.Type != "image/png" || c.Disposition != "inline" {
		t.Errorf("got %s, %s", c.Type, c.Disposition)
	}
}
