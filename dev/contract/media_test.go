package contract

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// uploads sends a form with a file.
func (p *person) uploads(name string, file []byte) answer {
	p.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		p.t.Fatal(err)
	}
	a := request(p.t, "POST", p.site.REST[0]+"/api/v1/media/upload", form.String(),
		"Authorization", "Bearer "+p.token, "Content-Type", w.FormDataContentType())
	if a.status == http.StatusCreated {
		if err := described(p.t).Value("Upload", a.body); err != nil {
			p.t.Errorf("it is not as described: %v\n%s", err, a.body)
		}
	}
	return a
}

// picture is one of 400 by 300 pixels.
func picture(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, 400, 300))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// opens asks for a URL that may be relative to REST, with headers that the test
// names and no others. Into the store it follows as browsers do: without the token.
func (s *site) opens(t *testing.T, reference any, header ...string) answer {
	t.Helper()
	base, err := url.Parse(s.REST[0])
	if err != nil {
		t.Fatal(err)
	}
	at, err := base.Parse(reference.(string))
	if err != nil {
		t.Fatal(err)
	}
	a := request(t, "GET", at.String(), nil, header...)
	if a.status != http.StatusFound {
		return a
	}
	a.described("GET", at.Path, nil)
	var rest []string
	for i := 0; i < len(header); i += 2 {
		if header[i] != "Authorization" {
			rest = append(rest, header[i], header[i+1])
		}
	}
	a = request(t, "GET", a.header.Get("Location"), nil, rest...)
	a.stored = true
	return a
}

func TestRoutePostMediaUpload(t *testing.T) {
	alice := newcomer(t)
	alice.uploads("cat.png", picture(t)).is(201, shape{
		"media_id": uuid, "media_url": text, "type": "image/png", "size": len(picture(t)), "name": "cat.png", "width": 400, "height": 300,
		"thumbnail_url": text, "placeholder": match("a data: URL", "^data:image/png;base64,"),
	})
	alice.uploads("../notes.txt", []byte("hello")).is(201, shape{
		"media_id": uuid, "media_url": text, "type": "text/plain", "size": 5, "name": "notes.txt",
	})
	alice.uploads("cat.png", []byte("\x89PNG\r\n\x1a\n<script>")).refused("unsupported_media")
	alice.uploads("nothing", nil).refused("bad_request")
	alice.call("POST", "/api/v1/media/upload", object{"file": "x"}).refused("unsupported_media")
}

// puts does what an answer to POST /api/v1/media says, and returns the status.
func puts(t *testing.T, begun object, file []byte) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), begun["method"].(string), begun["url"].(string), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		err = answer.Body.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

// begins begins a direct upload, or says why this system has none.
func (p *person) begins(size int) (begun object, ok bool) {
	p.t.Helper()
	a := p.call("POST", "/api/v1/media", object{"size": size, "name": "cat.png"})
	if a.status == http.StatusNotFound { // A folder, or no -media-public-url.
		a.refused("not_found")
		return nil, false
	}
	a.is(201, shape{"upload_id": uuid, "method": "PUT", "url": text, "size": size, "expires_at": after(15 * time.Minute)})
	return a.good(), true
}

func TestRoutePostMedia(t *testing.T) {
	alice := newcomer(t)
	begun, ok := alice.begins(len(picture(t)))
	if !ok {
		return
	}
	compare(t, "fewer bytes", puts(t, begun, picture(t)[1:]), http.StatusForbidden)
	compare(t, "as many", puts(t, begun, picture(t)), http.StatusOK)
	alice.call("GET", "/api/v1/media/"+begun["upload_id"].(string), nil).refused("not_found")
	alice.call("POST", "/api/v1/media", object{"size": 0}).refused("bad_request")
	alice.call("POST", "/api/v1/media", object{"size": 1 << 40}).refused("too_large")
}

func TestRoutePostMediaIDComplete(t *testing.T) {
	alice, stranger := newcomer(t), newcomer(t)
	alice.call("POST", "/api/v1/media/01a0c565-dc78-7abc-8def-0123456789ab/complete", nil).refused("not_found")
	begun, ok := alice.begins(len(picture(t)))
	if !ok {
		return
	}
	path := "/api/v1/media/" + begun["upload_id"].(string) + "/complete"
	alice.call("POST", path, nil).refused("bad_request")
	compare(t, "the bytes", puts(t, begun, picture(t)), http.StatusOK)
	stranger.call("POST", path, nil).refused("not_found")
	up := alice.call("POST", path, nil)
	up.is(201, shape{
		"media_id": uuid, "media_url": text, "type": "image/png", "size": len(picture(t)), "name": "cat.png", "width": 400, "height": 300,
		"thumbnail_url": text, "placeholder": match("a data: URL", "^data:image/png;base64,"),
	})
	compare(t, "once more", alice.call("POST", path, nil).good()["media_id"], up.good()["media_id"])
	a := alice.site.opens(t, up.good()["media_url"])
	compare(t, "what is read", string(a.body), string(picture(t)))
}

func TestRouteGetMediaID(t *testing.T) {
	alice, bob, stranger := newcomer(t), newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	file := picture(t)
	up := alice.uploads("cat.png", file).good()
	path := "/api/v1/media/" + up["media_id"].(string)
	bob.call("GET", path, nil).refused("not_found")
	sent := message(pair, "")
	sent["type"], sent["media_url"] = "image", up["media_url"]
	bob.call("POST", conversations+"/"+pair+"/messages", sent).refused("bad_request")
	alice.call("POST", conversations+"/"+pair+"/messages", sent).good()
	entries := bob.history(pair, "limit=1").good()["messages"].([]any)
	shown := entries[0].(object)["media_url"]
	a := alice.site.opens(t, shown)
	compare(t, "the status", a.status, http.StatusOK)
	compare(t, "the bytes", string(a.body), string(file))
	headers := map[string]string{
		"Content-Type": "image/png", "Content-Disposition": "inline; filename=cat.png", "Cache-Control": "private, max-age=31536000, immutable",
	}
	if !a.stored { // No URL makes a store say these.
		headers["X-Content-Type-Options"], headers["Content-Security-Policy"] = "nosniff", "default-src 'none'; sandbox"
	}
	for name, want := range headers {
		compare(t, name, a.header.Get(name), want)
	}
	compare(t, "a part", alice.site.opens(t, shown, "Range", "bytes=1-3").status, http.StatusPartialContent)
	compare(t, "what is known", alice.site.opens(t, shown, "If-None-Match", a.header.Get("ETag")).status, http.StatusNotModified)
	alice.site.opens(t, strings.Replace(shown.(string), "sig=", "sig=x", 1)).refused("forbidden")
	compare(t, "by token", alice.site.opens(t, path, "Authorization", "Bearer "+bob.token).status, http.StatusOK)
	stranger.call("GET", path, nil).refused("not_found")
	alice.site.call(t, "GET", path, nil).refused("unauthorized")
}

func TestRouteGetMediaIDThumbnail(t *testing.T) {
	alice := newcomer(t)
	up := alice.uploads("cat.png", picture(t)).good()
	a := alice.site.opens(t, up["thumbnail_url"])
	compare(t, "the status", a.status, http.StatusOK)
	compare(t, "Content-Type", a.header.Get("Content-Type"), "image/jpeg")
	small, err := jpeg.DecodeConfig(bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "its width", small.Width, 320)
	text := alice.uploads("notes.txt", []byte("hello")).good()
	alice.call("GET", "/api/v1/media/"+text["media_id"].(string)+"/thumbnail", nil).refused("not_found")
}

func TestRouteGetMediaIDInfo(t *testing.T) {
	alice, stranger := newcomer(t), newcomer(t)
	up := alice.uploads("cat.png", picture(t)).good()
	path := "/api/v1/media/" + up["media_id"].(string) + "/info"
	alice.call("GET", path, nil).is(200, shape{
		"media_id": up["media_id"], "media_url": text, "type": "image/png", "size": up["size"], "name": "cat.png", "width": 400, "height": 300,
		"thumbnail_url": text, "placeholder": up["placeholder"],
	})
	stranger.call("GET", path, nil).refused("not_found")
}
