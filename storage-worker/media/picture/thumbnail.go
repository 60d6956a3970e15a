package picture

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

const (
	// ThumbnailSide bounds both sides of a thumbnail, in pixels.
	ThumbnailSide = 320
	// PlaceholderSide bounds both sides of a placeholder.
	PlaceholderSide = 8
	// quality is that of a thumbnail in JPEG.
	quality = 80
)

// Thumbnail is a small picture, upright, without anything but its pixels.
type Thumbnail struct {
	Type        string // JPEG, or PNG where something is transparent
	Bytes       []byte
	Placeholder string // a data: URL of a few hundred bytes
}

// Thumbnail decodes the picture, which costs up to [DecodeBytes] of memory, so that
// the caller sees to it that few do so at once; it takes some seconds at most. Of an animation it is the first
// frame. Where there is no thumbnail for a good picture it returns nil.
func (p *Picture) Thumbnail() (*Thumbnail, error) {
	if p.cost > DecodeBytes || p.slow || p.animated && p.Type == WebP {
		return nil, nil
	}
	full, err := p.decode(p.Stored())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	small := upright(scaled(full, ThumbnailSide), p.orientation)
	t := &Thumbnail{Type: PNG}
	var out bytes.Buffer
	if small.Opaque() {
		t.Type = JPEG
		err = jpeg.Encode(&out, small, &jpeg.Options{Quality: quality})
	} else {
		err = png.Encode(&out, small)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a thumbnail: %w", err)
	}
	t.Bytes = out.Bytes()
	var tiny bytes.Buffer
	if err := png.Encode(&tiny, scaled(small, PlaceholderSide)); err != nil {
		return nil, fmt.Errorf("encode a placeholder: %w", err)
	}
	t.Placeholder = "data:image/png;base64," + base64.StdEncoding.EncodeToString(tiny.Bytes())
	return t, nil
}

func (p *Picture) decode(r io.Reader) (image.Image, error) {
	switch p.Type {
	case JPEG:
		return jpeg.Decode(r)
	case PNG:
		return png.Decode(r)
	case GIF:
		return gif.Decode(r)
	}
	return webp.Decode(r)
}

// scaled returns a picture that is at most so large, and never larger than before.
func scaled(full image.Image, side int) *image.RGBA {
	w, h := full.Bounds().Dx(), full.Bounds().Dy()
	if longest := max(w, h); longest > side {
		w, h = max(w*side/longest, 1), max(h*side/longest, 1)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.BiLinear.Scale(small, small.Bounds(), full, full.Bounds(), draw.Src, nil)
	return small
}

// upright turns a picture as its Exif orientation says: 1 is upright, 2 mirrored, 3
// upside down, 4 both; 5 to 8 lie on a side.
func upright(lying *image.RGBA, orientation int) *image.RGBA {
	if orientation == 1 {
		return lying
	}
	w, h := lying.Bounds().Dx(), lying.Bounds().Dy()
	shown := image.Rect(0, 0, w, h)
	if orientation > 4 {
		shown = image.Rect(0, 0, h, w)
	}
	up := image.NewRGBA(shown)
	for y := range h {
		for x := range w {
			to := image.Point{x, y}
			switch orientation {
			case 2:
				to.X = w - 1 - x
			case 3:
				to.X, to.Y = w-1-x, h-1-y
			case 4:
				to.Y = h - 1 - y
			case 5:
				to.X, to.Y = y, x
			case 6:
				to.X, to.Y = h-1-y, x
			case 7:
				to.X, to.Y = h-1-y, w-1-x
			case 8:
				to.X, to.Y = y, w-1-x
			}
			up.SetRGBA(to.X, to.Y, lying.RGBAAt(x, y))
		}
	}
	return up
}
