package picture

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"runtime"
	"testing"
)

// The colours of a JPEG that a test makes.
const (
	gray = iota
	yCbCr
	rgb
	cmyk
)

// blank is a JPEG of one colour, of a square with sides of a multiple of 8: one scan
// of all components, and of a progressive one more that go through the first
// component for a few bytes.
func blank(side, colours int, progressive bool, more int) []byte {
	components := map[int]int{gray: 1, yCbCr: 3, rgb: 3, cmyk: 4}[colours]
	file := []byte{0xff, markerSOI}
	if colours == rgb || colours == cmyk {
		file = append(file, segment(markerAPP14, "Adobe\x00\x64\x00\x00\x00\x00\x00")...)
	}
	frame := []byte{8, byte(side >> 8), byte(side), byte(side >> 8), byte(side), byte(components)}
	scan := []byte{byte(components)}
	for i := range components {
		frame = append(frame, byte(i+1), 0x11, 0)
		scan = append(scan, byte(i+1), 0)
	}
	sof, last := byte(0xc0), byte(63)
	if progressive {
		sof, last = markerSOF2, 0
	}
	const one = "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // one code, of one bit: 0
	file = append(file, segment(0xdb, string(make([]byte, 65)))...)
	for i := range 64 {
		file[len(file)-1-i] = 1 // no divisor is 0
	}
	file = append(file, segment(sof, string(frame))...)
	file = append(file, segment(0xc4, "\x00"+one+"\x00"+"\x10"+one+"\x00")...) // no difference; nothing more in the block
	file = append(file, segment(markerSOS, string(append(scan, 0, last, 0)))...)
	blocks := (side / 8) * (side / 8)
	file = append(file, make([]byte, blocks*components*2/8+1)...)
	if more > 0 {
		file = append(file, segment(0xc4, "\x10"+one+"\xe0")...) // nothing more in the next 16,384 blocks
	}
	for range more {
		file = append(file, segment(markerSOS, "\x01\x01\x00\x01\x3f\x00")...)
		file = append(file, make([]byte, (blocks/16384+1)*15/8+1)...)
	}
	return append(file, 0xff, markerEOI)
}

// allocated returns how much memory is taken while f runs.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestDecodingTakesWhatIsCounted(t *testing.T) {
	const side = 512
	files := map[string][]byte{
		"gray": blank(side, gray, false, 0), "colours": blank(side, yCbCr, false, 0), "RGB": blank(side, rgb, false, 0), "CMYK": blank(side, cmyk, false, 0),
		"progressive gray": blank(side, gray, true, 1), "progressive colours": blank(side, yCbCr, true, 1),
		"progressive RGB": blank(side, rgb, true, 1), "progressive CMYK": blank(side, cmyk, true, 1),
	}
	for name, img := range map[string]image.Image{
		"a gray PNG": image.NewGray(image.Rect(0, 0, side, side)), "a PNG": image.NewNRGBA(image.Rect(0, 0, side, side)), "a deep PNG": image.NewNRGBA64(image.Rect(0, 0, side, side)),
	} {
		var out bytes.Buffer
		if err := png.Encode(&out, img); err != nil {
			t.Fatal(err)
		}
		files[name] = out.Bytes()
		if name == "a gray PNG" {
			const header = 8 + 25
			seen := append(bytes.Clone(out.Bytes()[:header]), chunk("tRNS", "\x00\x01")...)
			files["a gray PNG that is transparent"] = append(seen, out.Bytes()[header:]...)
		}
	}
	for name, file := range files {
		p, _ := examine(t, file)
		counted := p.cost - scalingBytes*side
		got := allocated(func() {
			if _, err := p.decode(p.Stored()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		const besides = 128 << 10
		if got > counted+besides || counted > 2*got {
			t.Errorf("%s: decoding took %d bytes, %d were counted", name, got, counted)
		}
	}
}

// What cannot be made here is counted by hand.
func TestCosts(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		cost cost
		want int64
	}{
		"a lossy WebP":         {WebP, cost{model: color.YCbCrModel}, 2},
		"a lossless WebP":      {WebP, cost{model: color.NRGBAModel, lossless: true}, 7},
		"transparency":         {WebP, cost{model: color.NYCbCrAModel, transparent: true}, 10},
		"an interlaced PNG":    {PNG, cost{model: color.NRGBAModel, header: []byte{12: 1}}, 8},
		"RGB that is late":     {JPEG, cost{model: color.YCbCrModel, untransformed: true}, 7},
		"an interlaced GIF":    {GIF, cost{}, 2},
		"a PNG without header": {PNG, cost{}, 16},
	} {
		const pixels = 1 << 20
		got := c.cost.bytes(c.kind, pixels)
		if c.kind == WebP && c.want > 2 {
			got -= treesMax * treeBytes
		}
		if got != c.want*pixels {
			t.Errorf("%s: got %d bytes a pixel, want %d", name, got/pixels, c.want)
		}
	}
}

// A scan of a few bytes costs as much time as the picture has pixels.
func TestManyScansAreNotDecoded(t *testing.T) {
	p, _ := examine(t, blank(4096, gray, true, 40))
	if small, err := p.Thumbnail(); small != nil || err != nil {
		t.Errorf("40 scans: got %v, %v; want no thumbnail", small, err)
	}
	p, _ = examine(t, blank(512, yCbCr, true, 40))
	if small, err := p.Thumbnail(); small == nil || err != nil {
		t.Errorf("40 scans of a small picture: got %v, %v; want a thumbnail", small, err)
	}
	bomb := blank(64, gray, true, ScansMax)
	if _, err := Examine(bytes.NewReader(bomb), int64(len(bomb)), JPEG); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrDamaged) {
		t.Errorf("%d scans: got %v, want %v", ScansMax+1, err, ErrTooLarge)
	}
}
