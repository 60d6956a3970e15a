package picture

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"

	"golang.org/x/image/webp"
)

// secret is what no stored picture may contain.
const secret = "GPS 59.9386 N 30.3141 E"

// quarters is a picture whose corners are red, green, blue and white, clockwise.
func quarters(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{255, 0, 0, 255}
			switch {
			case x >= w/2 && y < h/2:
				c = color.RGBA{0, 255, 0, 255}
			case x >= w/2:
				c = color.RGBA{0, 0, 255, 255}
			case y >= h/2:
				c = color.RGBA{255, 255, 255, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

// segment is a segment of JPEG.
func segment(marker byte, body string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(body)+2)), body...)
}

// camera is a JPEG as a camera writes it: Exif with an orientation and a place, XMP,
// a comment, and a second picture behind the end.
func camera(t testing.TB, orientation int) []byte {
	t.Helper()
	var plain bytes.Buffer
	if err := jpeg.Encode(&plain, quarters(80, 40), nil); err != nil {
		t.Fatal(err)
	}
	exif := "Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02\x01\x0f\x00\x02\x00\x00\x00\x04abc\x00\x01\x12\x00\x03\x00\x00\x00\x01\x00" +
		string([]byte{byte(orientation)}) + "\x00\x00\x00\x00\x00\x00" + secret
	out := plain.Bytes()[:2:2]
	for _, s := range [][]byte{
		segment(markerAPP1, exif), segment(markerAPP1, "http://ns.adobe.com/xap/1.0/\x00"+secret), segment(markerCOM, secret),
		segment(0xed, "Photoshop 3.0\x00"+secret), segment(markerAPP2, "MPF\x00"+secret), segment(markerAPP2, "ICC_PROFILE\x00\x01\x01profile"),
	} {
		out = append(out, s...)
	}
	out = append(out, plain.Bytes()[2:]...)
	return append(append(out, plain.Bytes()...), secret...)
}

// examine examines a file and returns what is stored of it.
func examine(t *testing.T, file []byte) (*Picture, []byte) {
	t.Helper()
	p, err := Examine(bytes.NewReader(file), int64(len(file)), Sniff(file))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := io.ReadAll(p.Stored())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(stored)) != p.Size {
		t.Errorf("%d bytes are stored, %d were told", len(stored), p.Size)
	}
	if bytes.Contains(stored, []byte(secret)) {
		t.Error("the metadata is still there")
	}
	return p, stored
}

// corners returns the colours of the corners, clockwise, as letters.
func corners(img image.Image) string {
	b := img.Bounds()
	var s strings.Builder
	for _, at := range []image.Point{{b.Min.X + 1, b.Min.Y + 1}, {b.Max.X - 2, b.Min.Y + 1}, {b.Max.X - 2, b.Max.Y - 2}, {b.Min.X + 1, b.Max.Y - 2}} {
		r, g, bl, _ := img.At(at.X, at.Y).RGBA()
		switch {
		case min(r, g, bl) > 0x8000:
			s.WriteByte('w')
		case r > 0x8000:
			s.WriteByte('r')
		case g > 0x8000:
			s.WriteByte('g')
		default:
			s.WriteByte('b')
		}
	}
	return s.String()
}

func TestAThumbnailIsUpright(t *testing.T) {
	for orientation, want := range map[int]string{1: "rgbw", 2: "grwb", 3: "bwrg", 4: "wbgr", 5: "rwbg", 6: "wrgb", 7: "bgrw", 8: "gbwr"} {
		p, stored := examine(t, camera(t, orientation))
		wide := orientation < 5
		if (p.Width > p.Height) != wide {
			t.Errorf("orientation %d: %d × %d", orientation, p.Width, p.Height)
		}
		small, err := p.Thumbnail()
		if err != nil || small.Type != JPEG {
			t.Fatalf("orientation %d: got %v, %v; want a JPEG", orientation, small, err)
		}
		img, err := jpeg.Decode(bytes.NewReader(small.Bytes))
		if err != nil {
			t.Fatal(err)
		}
		if got := corners(img); got != want {
			t.Errorf("orientation %d: the corners are %s, want %s", orientation, got, want)
		}
		// The picture itself lies as it did, and says so.
		again, _ := examine(t, stored)
		if full, err := jpeg.Decode(bytes.NewReader(stored)); err != nil || corners(full) != "rgbw" || again.orientation != orientation {
			t.Errorf("orientation %d: stored with %d, %v", orientation, again.orientation, err)
		}
		if !bytes.Contains(stored, []byte("ICC_PROFILE")) {
			t.Error("the colour profile is gone")
		}
	}
}

// chunk is a chunk of PNG.
func chunk(name, body string) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), name+body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func TestTextAndExifAreLeftOutOfPNG(t *testing.T) {
	img := quarters(10, 10)
	img.SetRGBA(5, 5, color.RGBA{})
	var plain bytes.Buffer
	if err := png.Encode(&plain, img); err != nil {
		t.Fatal(err)
	}
	const header = 8 + 25 // signature and IHDR
	file := bytes.Clone(plain.Bytes()[:header])
	for _, c := range [][]byte{chunk("eXIf", secret), chunk("tEXt", secret), chunk("iTXt", secret), chunk("prVt", secret), chunk("pHYs", "12345678\x01")} {
		file = append(file, c...)
	}
	file = append(append(file, plain.Bytes()[header:]...), secret...)
	p, stored := examine(t, file)
	if got, err := png.Decode(bytes.NewReader(stored)); err != nil || corners(got) != "rgbw" || !bytes.Contains(stored, []byte("pHYs")) {
		t.Errorf("what is stored is another picture: %v", err)
	}
	small, err := p.Thumbnail()
	if err != nil || small.Type != PNG || len(small.Placeholder) > 600 {
		t.Fatalf("got %+v, %v; want a PNG, since a pixel is transparent", small, err)
	}
	body, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(small.Placeholder, "data:image/png;base64,"))
	if err != nil {
		t.Fatal(err)
	}
	if tiny, err := png.Decode(bytes.NewReader(body)); err != nil || tiny.Bounds().Dx() != PlaceholderSide {
		t.Errorf("the placeholder is no picture of %d pixels: %v", PlaceholderSide, err)
	}
}

// animation is a GIF of some frames, with a comment and XMP.
func animation(t testing.TB, frames int) []byte {
	t.Helper()
	g := &gif.GIF{}
	one := image.NewPaletted(image.Rect(0, 0, 4, 4), color.Palette{color.Black, color.White})
	for range min(frames, 3) {
		g.Image, g.Delay = append(g.Image, one), append(g.Delay, 1)
	}
	var out bytes.Buffer
	if err := gif.EncodeAll(&out, g); err != nil {
		t.Fatal(err)
	}
	file := bytes.TrimSuffix(out.Bytes(), []byte(";"))
	last := bytes.LastIndex(file, []byte("!\xf9"))
	frame := bytes.Clone(file[last:])
	for range frames - 3 {
		file = append(file, frame...)
	}
	note := append([]byte{byte(len(secret))}, secret...)
	file = append(append(append(file, '!', 0xfe), note...), 0)
	file = append(append(append(append(file, '!', 0xff, 11), "XMP DataXMP"...), note...), 0)
	return append(append(file, ';'), secret...)
}

func TestAnimations(t *testing.T) {
	p, stored := examine(t, animation(t, 5))
	got, err := gif.DecodeAll(bytes.NewReader(stored))
	if err != nil || len(got.Image) != 5 || got.LoopCount != 0 {
		t.Fatalf("got %v, %v; want five frames that repeat", got, err)
	}
	if small, err := p.Thumbnail(); err != nil || small == nil {
		t.Errorf("got %v, %v; want the first frame", small, err)
	}
	bomb := animation(t, FramesMax+1)
	if _, err := Examine(bytes.NewReader(bomb), int64(len(bomb)), GIF); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d frames: got %v, want %v", FramesMax+1, err, ErrTooLarge)
	}
	// Few frames of very many pixels: the screen is 10,000 × 10,000.
	wide := animation(t, 20)
	copy(wide[6:], "\x10\x27\x10\x27")
	if _, err := Examine(bytes.NewReader(wide), int64(len(wide)), GIF); !errors.Is(err, ErrTooLarge) {
		t.Errorf("frames of 100 megapixels: got %v, want %v", err, ErrTooLarge)
	}
}

func TestPixelsAreCountedBeforeAnythingIsDecoded(t *testing.T) {
	for name, size := range map[string][2]uint32{"a square": {50_000, 50_000}, "a line": {1, 4_000_000}, "many pixels": {10_001, 10_001}} {
		header := string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, size[0]), size[1])) + "\x08\x06\x00\x00\x00"
		file := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", header)...)
		file = append(append(file, chunk("IDAT", "x")...), chunk("IEND", "")...)
		if got := testing.AllocsPerRun(1, func() {
			if _, err := Examine(bytes.NewReader(file), int64(len(file)), PNG); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: got %v, want %v", name, err, ErrTooLarge)
			}
		}); got > 100 {
			t.Errorf("%s: %v allocations, want a look at the header", name, got)
		}
	}
}

// A picture within the limits that would take much memory is kept without a
// thumbnail; its data is not even looked at.
func TestWhatIsDearToDecodeHasNoThumbnail(t *testing.T) {
	header := "\x00\x00\x27\x10\x00\x00\x1f\x40\x10\x06\x00\x00\x00" // 10,000 × 8,000, 16 bits a colour
	file := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", header)...)
	file = append(append(file, chunk("IDAT", "x")...), chunk("IEND", "")...)
	p, _ := examine(t, file)
	if small, err := p.Thumbnail(); small != nil || err != nil {
		t.Errorf("got %v, %v; want none", small, err)
	}
}

func TestWebP(t *testing.T) {
	plain, err := base64.StdEncoding.DecodeString("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
	if err != nil {
		t.Fatal(err)
	}
	part := func(name, body string) string {
		b := name + string(binary.LittleEndian.AppendUint32(nil, uint32(len(body)))) + body
		return b + strings.Repeat("\x00", len(body)%2)
	}
	body := "WEBP" + part("VP8X", "\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00") + string(plain[12:]) + part("EXIF", secret) + part("XMP ", secret)
	file := []byte(part("RIFF", body))
	p, stored := examine(t, file)
	if _, err := webp.Decode(bytes.NewReader(stored)); err != nil || stored[20] != 0 {
		t.Errorf("stored with flags %#x: %v", stored[20], err)
	}
	if small, err := p.Thumbnail(); err != nil || small == nil {
		t.Errorf("got %v, %v; want a thumbnail", small, err)
	}
	if size := binary.LittleEndian.Uint32(stored[4:]); int(size) != len(stored)-8 {
		t.Errorf("the header says %d bytes of %d", size, len(stored)-8)
	}
}

func TestTypesComeFromTheContent(t *testing.T) {
	for want, head := range map[string]string{
		"text/html":                "<!DOCTYPE html><script>alert(1)</script>",
		"image/svg+xml":            `<?xml version="1.0"?><SVG onload="alert(1)"/>`,
		"text/plain":               "hello",
		"application/pdf":          "%PDF-1.7",
		"application/octet-stream": "\x00\x01\x02",
		JPEG:                       "\xff\xd8\xff\xe0",
		PNG:                        "\x89PNG\r\n\x1a\n",
	} {
		if got := Sniff([]byte(head)); got != want {
			t.Errorf("%q: got %s, want %s", head, got, want)
		}
	}
	if got := Sniff([]byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`)); got != "image/svg+xml" {
		t.Errorf("an SVG without a declaration: got %s", got)
	}
}

// Whatever is cut off or put in the place of a byte is refused or read, and what is
// stored can be examined again.
func FuzzExamine(f *testing.F) {
	f.Add(camera(f, 6), JPEG)
	f.Add(animation(f, 4), GIF)
	var plain bytes.Buffer
	if err := png.Encode(&plain, quarters(3, 3)); err != nil {
		f.Fatal(err)
	}
	f.Add(plain.Bytes(), PNG)
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"), WebP)
	f.Fuzz(func(t *testing.T, file []byte, kind string) {
		p, err := Examine(bytes.NewReader(file), int64(len(file)), kind)
		if err != nil {
			return
		}
		stored, err := io.ReadAll(p.Stored())
		if err != nil || int64(len(stored)) != p.Size {
			t.Fatalf("stored %d bytes of %d: %v", len(stored), p.Size, err)
		}
		again, err := Examine(bytes.NewReader(stored), p.Size, kind)
		if err != nil || again.Width != p.Width || again.Height != p.Height {
			t.Fatalf("what is stored is another picture: %v", err)
		}
	})
}

func TestWhatIsCutOffIsRefused(t *testing.T) {
	for _, file := range [][]byte{camera(t, 1), animation(t, 4)} {
		end := bytes.LastIndex(file, []byte(secret)) / 3
		for cut := range end {
			if _, err := Examine(bytes.NewReader(file[:cut]), int64(cut), Sniff(file)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%d bytes of %s: got %v, want %v", cut, Sniff(file), err, ErrDamaged)
			}
		}
	}
}
