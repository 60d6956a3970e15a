package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// pngKept are the chunks that change how a picture is shown, beside the critical
// ones. All others are text, times, Exif or unknown.
var pngKept = []string{
	"tRNS", "gAMA", "cHRM", "sRGB", "iCCP", "sBIT", "bKGD", "pHYs", "hIST", "sPLT", "cICP", "mDCV", "cLLI", "acTL", "fcTL", "fdAT",
}

// png keeps the chunks that are needed, up to the last.
func (w *walk) png() error {
	w.frames = 1
	if _, err := w.next(8); err != nil {
		return err
	}
	w.keep(0)
	for {
		from := w.at
		head, err := w.next(8)
		if err != nil {
			return err
		}
		const crc = 4
		name, size := string(head[4:]), int64(binary.BigEndian.Uint32(head))
		switch name {
		case "IHDR":
			body, err := w.next(int(min(size, headerPNG)))
			if err != nil {
				return err
			}
			w.cost.header = body
			size -= int64(len(body))
		case "tRNS":
			w.cost.transparent = true
		case "fcTL":
			w.frames++
		}
		if err := w.skip(size + crc); err != nil {
			return err
		}
		if critical := name[0]&0x20 == 0; critical || slices.Contains(pngKept, name) {
			w.keep(from)
		}
		if name == "IEND" {
			return nil
		}
	}
}

// gif counts the frames and leaves out comments and what applications wrote, how
// often to repeat excepted.
func (w *walk) gif() error {
	head, err := w.next(13)
	if err != nil {
		return err
	}
	if err := w.colours(head[10]); err != nil {
		return err
	}
	w.keep(0)
	for {
		from := w.at
		b, err := w.next(1)
		if err != nil {
			return err
		}
		kept := true
		switch b[0] {
		case ';':
			w.keep(from)
			if w.frames == 0 {
				return errors.New("it has no picture")
			}
			return nil
		case ',':
			err = w.gifFrame()
		case '!':
			kept, err = w.gifExtension()
		default:
			err = fmt.Errorf("an unknown block %#x", b[0])
		}
		if err != nil {
			return err
		}
		if kept {
			w.keep(from)
		}
	}
}

// colours goes past a table of colours, if the flags say that there is one.
func (w *walk) colours(flags byte) error {
	if flags&0x80 == 0 {
		return nil
	}
	return w.skip(3 << (flags&7 + 1))
}

func (w *walk) gifFrame() error {
	w.frames++
	head, err := w.next(9)
	if err != nil {
		return err
	}
	if err := w.colours(head[8]); err != nil {
		return err
	}
	if err := w.skip(1); err != nil {
		return err
	}
	return w.blocks()
}

// gifExtension reports whether an extension is kept: the control of a frame, and
// the repetition.
func (w *walk) gifExtension() (kept bool, err error) {
	label, err := w.next(1)
	if err != nil {
		return false, err
	}
	switch label[0] {
	case 0xf9:
		kept = true
	case 0xff:
		ahead, err := w.r.Peek(12)
		if err != nil {
			return false, fmt.Errorf("it ends early: %w", err)
		}
		kept = bytes.Equal(ahead[1:], []byte("NETSCAPE2.0")) || bytes.Equal(ahead[1:], []byte("ANIMEXTS1.0"))
	}
	return kept, w.blocks()
}

// blocks goes past a chain of sub-blocks.
func (w *walk) blocks() error {
	for {
		size, err := w.r.ReadByte()
		if err != nil {
			return fmt.Errorf("it ends early: %w", err)
		}
		w.at++
		if size == 0 {
			return nil
		}
		if err := w.skip(int64(size)); err != nil {
			return err
		}
	}
}

// webpKept are the chunks of WebP that are shown.
var webpKept = []string{"VP8 ", "VP8L", "VP8X", "ALPH", "ANIM", "ANMF", "ICCP"}

// webp keeps what is shown, and says so in the header: the flags of an extended
// file name the metadata that it has.
func (w *walk) webp() error {
	head, err := w.next(12)
	if err != nil {
		return err
	}
	const exif, xmp = 0x08, 0x04
	end := min(int64(binary.LittleEndian.Uint32(head[4:]))+8, w.size)
	w.add(head)
	for w.at+8 <= end {
		from := w.at
		chunk, err := w.next(8)
		if err != nil {
			return err
		}
		name, size := string(chunk[:4]), int64(binary.LittleEndian.Uint32(chunk[4:]))
		if size%2 == 1 && size < w.size-w.at {
			size++ // A byte that pads it, which may be missing at the end.
		}
		switch {
		case name == "VP8X" && size == 10:
			body, err := w.next(10)
			if err != nil {
				return err
			}
			body[0] &^= exif | xmp
			w.add(append(chunk, body...))
			continue
		case name == "ANMF":
			w.frames++
		case name == "ALPH":
			w.cost.transparent = true
		case name == "VP8L":
			w.cost.lossless = true
		}
		if err := w.skip(size); err != nil {
			return err
		}
		if slices.Contains(webpKept, name) {
			w.keep(from)
		}
	}
	var total int64
	for _, k := range w.p.keep {
		total += k.size
	}
	if w.frames = max(w.frames, 1); total <= 12 {
		return errors.New("it has no picture")
	}
	binary.LittleEndian.PutUint32(head[4:], uint32(total-8))
	return nil
}
