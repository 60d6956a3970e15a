package picture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// walk goes through a file part by part and notes which bytes are kept. It reads
// each byte at most once and keeps none of them.
type walk struct {
	p      *Picture
	size   int64
	pixels int64
	frames int
	cost   cost

	r     *bufio.Reader
	at    int64 // of the next byte in the file
	parts int
}

// file walks through the whole file.
func (w *walk) file() error {
	w.r = bufio.NewReaderSize(io.NewSectionReader(w.p.source, 0, w.size), 64<<10)
	var err error
	switch w.p.Type {
	case JPEG:
		err = w.jpeg()
	case PNG:
		err = w.png()
	case GIF:
		err = w.gif()
	case WebP:
		err = w.webp()
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// next reads the next n bytes; they are few.
func (w *walk) next(n int) ([]byte, error) {
	if w.parts++; w.parts > partsMax {
		return nil, fmt.Errorf("it has more than %d parts", partsMax)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(w.r, b); err != nil {
		return nil, fmt.Errorf("it ends early: %w", err)
	}
	w.at += int64(n)
	return b, nil
}

// skip goes on by n bytes.
func (w *walk) skip(n int64) error {
	if n < 0 || n > w.size-w.at {
		return fmt.Errorf("a part of %d bytes is longer than the file", n)
	}
	for left := n; left > 0; {
		step := int(min(left, 1<<20))
		if _, err := w.r.Discard(step); err != nil {
			return fmt.Errorf("it ends early: %w", err)
		}
		left -= int64(step)
	}
	w.at += n
	return nil
}

// keep notes that what lies between from and here belongs to the picture.
func (w *walk) keep(from int64) {
	k := &w.p.keep
	if n := len(*k); n > 0 && (*k)[n-1].own == nil && (*k)[n-1].from+(*k)[n-1].size == from {
		(*k)[n-1].size += w.at - from
		return
	}
	*k = append(*k, piece{from: from, size: w.at - from})
}

func (w *walk) add(own []byte) {
	w.p.keep = append(w.p.keep, piece{own: own, size: int64(len(own))})
}

// The markers of JPEG.
const (
	markerSOF2  = 0xc2 // of a progressive picture
	markerRST0  = 0xd0
	markerSOI   = 0xd8
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerAPP0  = 0xe0 // JFIF
	markerAPP1  = 0xe1 // Exif, XMP
	markerAPP2  = 0xe2 // colour profile, and pictures within pictures
	markerAPP14 = 0xee // how Adobe encodes colours
	markerAPP15 = 0xef
	markerCOM   = 0xfe
)

// jpeg keeps what is needed to show the picture. Its end is the end: cameras put
// whole pictures with all their metadata behind it.
func (w *walk) jpeg() error {
	w.frames = 1
	if b, err := w.next(2); err != nil || b[0] != 0xff || b[1] != markerSOI {
		return fmt.Errorf("it has no beginning: %w", err)
	}
	w.keep(0)
	oriented := len(w.p.keep) // where the orientation goes
	for {
		from := w.at
		marker, err := w.marker()
		if err != nil {
			return err
		}
		if marker == markerEOI {
			w.keep(from)
			break
		}
		kept, err := w.segment(marker)
		if err != nil {
			return err
		}
		if kept {
			w.keep(from)
		}
		if marker == markerSOS {
			from = w.at
			if err := w.scan(); err != nil {
				return err
			}
			w.keep(from)
		}
	}
	if o := w.p.orientation; o != 1 {
		rest := append([]piece{{own: orientationSegment(o), size: int64(len(orientationSegment(o)))}}, w.p.keep[oriented:]...)
		first := w.p.keep[0]
		if first.size > 2 { // What follows SOI was joined to it.
			rest = append(rest[:1], append([]piece{{from: 2, size: first.size - 2}}, rest[1:]...)...)
			first.size = 2
		}
		w.p.keep = append([]piece{first}, rest...)
	}
	return nil
}

// marker reads a marker, and fill bytes before it.
func (w *walk) marker() (byte, error) {
	b, err := w.next(2)
	if err != nil {
		return 0, err
	}
	if b[0] != 0xff {
		return 0, fmt.Errorf("%#x stands where a marker belongs", b[0])
	}
	for b[1] == 0xff {
		more, err := w.next(1)
		if err != nil {
			return 0, err
		}
		b[1] = more[0]
	}
	return b[1], nil
}

// segment goes past the body of a marker and reports whether it is kept.
func (w *walk) segment(marker byte) (kept bool, err error) {
	if marker == 0x01 || marker >= markerRST0 && marker <= markerSOI {
		return false, nil // They have no body, and no business here.
	}
	b, err := w.next(2)
	if err != nil {
		return false, err
	}
	size := int64(binary.BigEndian.Uint16(b)) - 2
	switch {
	case marker == markerCOM, marker > markerAPP2 && marker <= markerAPP15 && marker != markerAPP14:
		return false, w.skip(size)
	case marker == markerSOF2:
		w.cost.progressive = true
		return true, w.skip(size)
	case marker != markerAPP1 && marker != markerAPP2 && marker != markerAPP14 && marker != markerSOS:
		return true, w.skip(size)
	case size < 0 || size > w.size-w.at:
		return false, fmt.Errorf("a part of %d bytes is longer than the file", size)
	}
	body, err := w.next(int(size))
	if err != nil {
		return false, err
	}
	switch exif, ok := bytes.CutPrefix(body, []byte("Exif\x00\x00")); {
	case marker == markerSOS:
		return true, w.count(body)
	case marker == markerAPP14:
		const transform = 11 // 0: the colours are as they are
		w.cost.untransformed = len(body) > transform && body[transform] == 0
		return true, nil
	case ok && marker == markerAPP1:
		w.p.orientation = orientationOf(exif)
	}
	return marker == markerAPP2 && bytes.HasPrefix(body, []byte("ICC_PROFILE\x00")), nil
}

// count counts a scan, by the body of its header. One of a few bytes may go through
// the whole picture: how long decoding takes is not seen from the size of a file.
func (w *walk) count(header []byte) error {
	if w.cost.scans++; w.cost.scans > ScansMax {
		return fmt.Errorf("%w: more than %d scans", ErrTooLarge, ScansMax)
	}
	if len(header) > 0 {
		w.cost.scanned += int64(header[0]) * w.pixels // It begins with the number of components.
	}
	return nil
}

// scan goes past compressed data, up to the next marker.
func (w *walk) scan() error {
	for {
		b, err := w.r.Peek(2)
		if err != nil {
			return fmt.Errorf("it ends early: %w", err)
		}
		if b[0] == 0xff && b[1] != 0 && b[1] != 0xff && (b[1] < markerRST0 || b[1] >= markerSOI) {
			return nil
		}
		step := 1
		if ahead, err := w.r.Peek(w.r.Buffered()); err == nil {
			if step = bytes.IndexByte(ahead[1:], 0xff) + 1; step == 0 {
				step = len(ahead)
			}
		}
		if err := w.skip(int64(step)); err != nil {
			return err
		}
	}
}

// orientationOf reads the one thing in Exif that changes how a picture is shown:
// tag 0x112 of the first directory. 1 is as it lies there.
func orientationOf(tiff []byte) int {
	const entry, tag = 12, 0x112
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	count := uint64(order.Uint16(tiff[at:]))
	for i := range count {
		one := at + 2 + i*entry
		if one+entry > uint64(len(tiff)) {
			return 1
		}
		if order.Uint16(tiff[one:]) == tag {
			if o := int(order.Uint16(tiff[one+8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
	}
	return 1
}

// orientationSegment is an Exif segment that says the orientation and nothing else.
func orientationSegment(o int) []byte {
	exif := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00")
	exif = append(exif, byte(o), 0, 0, 0, 0, 0, 0)
	return append(binary.BigEndian.AppendUint16([]byte{0xff, markerAPP1}, uint16(len(exif)+2)), exif...)
}
