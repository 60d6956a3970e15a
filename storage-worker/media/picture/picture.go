// Package picture looks at files that say nothing true about themselves: it tells
// the type from the content, measures a picture before anything decodes it, leaves
// out what a camera wrote about its owner, and makes a small one.
//
//	first bytes ──Sniff──▶ type
//	picture ──Examine──▶ pixels, frames, orientation; which bytes are kept
//	        ──Stored───▶ the same picture, byte for byte, without metadata
//	        ──Thumbnail▶ a small JPEG or PNG, upright; a placeholder of a few pixels
//	what phones make beside that ──Private▶ the same file, without metadata
//
// A picture is walked by its own structure with bounded memory; only Thumbnail
// decodes, and only what costs less than [DecodeBytes]. It stores nothing.
package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"strings"

	"golang.org/x/image/webp"
)

// The limits of a picture. What is beyond them is [ErrTooLarge]: it would cost
// whoever decodes it, here or on a phone, memory that its size does not show.
const (
	// SniffBytes is how much of a file Sniff looks at.
	SniffBytes = 512
	// PixelsMax bounds width × height.
	PixelsMax = 100_000_000
	// SideMax bounds each of them.
	SideMax = 20_000
	// FramesMax bounds the frames of an animation, and AnimatedPixelsMax the pixels
	// of all of them.
	FramesMax         = 1_000
	AnimatedPixelsMax = 1_000_000_000
	// ScansMax bounds the scans of a JPEG: encoders make about ten.
	ScansMax = 100
	// scannedMax bounds the pixels that decoding goes through, once for each scan and
	// component: some seconds. A picture with more has no thumbnail.
	scannedMax = 500_000_000
	// DecodeBytes is the memory that decoding may cost; a larger picture has no
	// thumbnail.
	DecodeBytes = 256 << 20
	// scalingBytes is what making a picture small takes for each pixel of its shorter
	// side, about.
	scalingBytes = 32 * ThumbnailSide
	// partsMax bounds the parts of which a file may consist.
	partsMax = 200_000
)

var (
	// ErrDamaged says that a file is not the picture as which it begins.
	ErrDamaged = errors.New("the picture is damaged")
	// ErrTooLarge says that it has too many pixels, frames or scans.
	ErrTooLarge = errors.New("the picture has too many pixels")
)

// The types of pictures.
const (
	JPEG = "image/jpeg"
	PNG  = "image/png"
	GIF  = "image/gif"
	WebP = "image/webp"
)

// Sniff returns the type of a file by its first bytes, whatever its name says.
func Sniff(head []byte) string {
	head = head[:min(len(head), SniffBytes)]
	kind, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if (kind == "text/xml" || kind == "text/plain") && bytes.Contains(bytes.ToLower(head), []byte("<svg")) {
		return "image/svg+xml"
	}
	return kind
}

// Known reports whether a type is a picture that Examine understands.
func Known(kind string) bool {
	return kind == JPEG || kind == PNG || kind == GIF || kind == WebP
}

// Picture is what Examine found.
type Picture struct {
	Type          string
	Width, Height int   // as shown: after the orientation
	Size          int64 // of what Stored returns

	source      io.ReaderAt
	orientation int // 1 to 8, as in Exif
	animated    bool
	cost        int64 // bytes that decoding takes, about
	slow        bool  // to decode
	keep        []piece
}

// piece is bytes of the source, or bytes of our own.
type piece struct {
	from, size int64
	own        []byte
}

// Examine measures a picture of a known type.
func Examine(source io.ReaderAt, size int64, kind string) (*Picture, error) {
	p := &Picture{Type: kind, source: source, orientation: 1}
	config, err := p.config(io.NewSectionReader(source, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	pixels := int64(config.Width) * int64(config.Height)
	if config.Width < 1 || config.Height < 1 {
		return nil, ErrDamaged
	}
	if config.Width > SideMax || config.Height > SideMax || pixels > PixelsMax {
		return nil, fmt.Errorf("%w: %d × %d", ErrTooLarge, config.Width, config.Height)
	}
	w := &walk{p: p, size: size, pixels: pixels, cost: cost{model: config.ColorModel}}
	if err := w.file(); err != nil {
		return nil, err
	}
	p.animated = w.frames > 1
	if w.frames > FramesMax || int64(w.frames)*pixels > AnimatedPixelsMax {
		return nil, fmt.Errorf("%w: %d frames of %d × %d", ErrTooLarge, w.frames, config.Width, config.Height)
	}
	p.slow = w.cost.scanned > scannedMax
	p.cost = w.cost.bytes(kind, pixels) + scalingBytes*int64(min(config.Width, config.Height))
	p.Width, p.Height = config.Width, config.Height
	if p.orientation > 4 {
		p.Width, p.Height = p.Height, p.Width
	}
	for _, k := range p.keep {
		p.Size += k.size
	}
	return p, nil
}

func (p *Picture) config(r io.Reader) (image.Config, error) {
	switch p.Type {
	case JPEG:
		return jpeg.DecodeConfig(r)
	case PNG:
		return png.DecodeConfig(r)
	case GIF:
		return gif.DecodeConfig(r)
	case WebP:
		return webp.DecodeConfig(r)
	}
	return image.Config{}, errors.New("a picture of an unknown type")
}

// Stored returns the picture as it is kept: every pixel, and nothing about where,
// when and with what it was taken.
func (p *Picture) Stored() io.Reader {
	parts := make([]io.Reader, len(p.keep))
	for i, k := range p.keep {
		if parts[i] = bytes.NewReader(k.own); k.own == nil {
			parts[i] = io.NewSectionReader(p.source, k.from, k.size)
		}
	}
	return io.MultiReader(parts...)
}
