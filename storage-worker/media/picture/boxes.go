package picture

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// What phones make is mostly neither JPEG nor PNG but a file of boxes (ISO/IEC
// 14496-12): HEIC and AVIF, MP4, QuickTime, 3GP. Nothing here decodes them. But the
// boxes say which bytes are pixels and sound and which are about the owner, and the
// latter are overwritten as they pass, at their length: every offset in the file stays
// true, and it is never whole in memory.
//
//	ftyp  meta                      mdat           still: a picture
//	      ├ iinf, iloc: what is     ├ pixels
//	      │ where                   ├ Exif ──▶ an empty one
//	      └ idat                    └ XMP  ──▶ zeros
//
//	ftyp  moov                      mdat           film
//	      ├ mvhd: times ──▶ 0       └ pixels, sound
//	      ├ udta, meta, uuid ──▶ free, zeros
//	      └ trak …

const (
	// metaBytes bounds the box that says what a still picture consists of: those of
	// phones have some thousands of bytes.
	metaBytes = 1 << 20
	// toTheEnd is the size of a box that has none.
	toTheEnd = math.MaxInt64
)

// The brands of stills; HEIC may come under any of them.
var stillBrands = []string{
	"heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "mif3", "msf1", "miaf", "avif", "avis", "avci", "avcs",
}

// The brands of films, beside those that begin with "iso", "mp4" or "3g". Music has
// others and keeps what it says about itself; so have raw pictures.
var filmBrands = []string{"qt  ", "avc1", "M4V ", "M4VH", "M4VP", "MSNV", "XAVC", "f4v ", "dash", "mmp4"}

var (
	// shownBoxes are needed at the top of a file; containers are looked into; about are
	// boxes in them that are not needed. What has been free may be a rest of something.
	shownBoxes = []string{"ftyp", "styp", "moov", "moof", "mdat", "imda", "sidx", "ssix", "mfra", "pdin"}
	containers = []string{"moov", "trak", "mdia", "moof", "traf"}
	about      = []string{"udta", "meta", "uuid", "free", "skip", "xml ", "bxml"}
	// timed are boxes that begin with a time of making and one of changing.
	timed = []string{"mvhd", "tkhd", "mdhd"}
)

// Private returns a file, whose first bytes are head, as it is kept: of a still or a
// film of boxes without place, times and what cameras and programs have added; any
// other as it is. A still of which that cannot be told is [ErrDamaged]; what cannot be
// walked of a film stays.
func Private(head []byte, file io.Reader) io.Reader {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return file
	}
	still := slices.Contains(stillBrands, string(head[8:12]))
	for at, end := 16, int64(binary.BigEndian.Uint32(head)); at+4 <= len(head) && int64(at+4) <= end; at += 4 {
		still = still || slices.Contains(stillBrands, string(head[at:at+4]))
	}
	major := string(head[8:12])
	film := slices.Contains(filmBrands, major) || strings.HasPrefix(major, "iso") || strings.HasPrefix(major, "mp4") || strings.HasPrefix(major, "3g")
	if !still && !film {
		return file
	}
	return &boxes{r: file, still: still}
}

// boxes walks through a file as it is read.
type boxes struct {
	r     io.Reader
	still bool

	at     int64   // of the next byte of r in the file
	ready  []byte  // what is given next
	left   int64   // what follows it of the box
	blank  bool    // as zeros
	inside []int64 // where the containers end that we are in
	blots  []blot
	end    error // what ended it
}

// blot is a place in the file that becomes own, and zeros behind that.
type blot struct {
	from, to int64
	own      []byte
}

func (s *boxes) Read(b []byte) (int, error) {
	for len(s.ready) == 0 && s.left == 0 && s.end == nil {
		s.end = s.box()
	}
	if len(s.ready) > 0 {
		n := copy(b, s.ready)
		s.ready = s.ready[n:]
		return n, nil
	}
	if s.end != nil {
		return 0, s.end
	}
	n, err := s.r.Read(b[:min(int64(len(b)), s.left)])
	if s.blank {
		clear(b[:n])
	}
	s.blotOut(b[:n], s.at)
	s.at += int64(n)
	if s.left != toTheEnd {
		s.left -= int64(n)
	}
	if s.end = err; err == io.EOF && s.still && s.left > 0 && s.left != toTheEnd { // io.Reader says it just so
		s.end = fmt.Errorf("%w: it ends early", ErrDamaged)
	}
	return n, s.end
}

// blotOut overwrites what b has of the blots; it stands at a place in the file.
func (s *boxes) blotOut(b []byte, at int64) {
	for _, o := range s.blots {
		from, to := max(o.from, at), min(o.to, at+int64(len(b)))
		if from >= to {
			continue
		}
		clear(b[from-at : to-at])
		if skip := from - o.from; skip < int64(len(o.own)) {
			copy(b[from-at:to-at], o.own[skip:])
		}
	}
}

// take reads the next n bytes, or as many as there are.
func (s *boxes) take(n int64) ([]byte, error) {
	b, got := make([]byte, n), int64(0)
	for got < n {
		more, err := s.r.Read(b[got:])
		got += int64(more)
		s.at += int64(more)
		if err == io.EOF { // as above
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return b[:got], nil
}

// broken gives what was read and the rest of a film as it is.
func (s *boxes) broken(read []byte) error {
	if s.still {
		return fmt.Errorf("%w: its boxes do not fit", ErrDamaged)
	}
	s.ready, s.left, s.blank, s.inside = read, toTheEnd, false, nil
	return nil
}

// box begins the next box.
func (s *boxes) box() error {
	for n := len(s.inside); n > 0 && s.at >= s.inside[n-1]; n-- {
		s.inside = s.inside[:n-1]
	}
	top, end, start := len(s.inside) == 0, int64(toTheEnd), s.at
	if !top {
		end = s.inside[len(s.inside)-1]
	}
	s.blank = false
	if end-start < 8 {
		s.left = end - start // QuickTime ends some with a zero.
		return nil
	}
	head, err := s.take(8)
	if err != nil {
		return err
	}
	if len(head) == 0 {
		return io.EOF
	}
	if len(head) < 8 {
		return s.broken(head)
	}
	size, name := int64(binary.BigEndian.Uint32(head)), string(head[4:])
	switch size {
	case 0:
		size = end - start
	case 1:
		long, err := s.take(8)
		if err != nil {
			return err
		}
		if head = append(head, long...); len(head) < 16 {
			return s.broken(head)
		}
		size = int64(binary.BigEndian.Uint64(long))
	}
	if size < int64(len(head)) || size > end-start {
		return s.broken(head)
	}
	s.left = size - int64(len(head))
	if size == end-start && top {
		s.left = toTheEnd
	}
	return s.begin(head, name, top)
}

// begin decides about a box, whose header was read.
func (s *boxes) begin(head []byte, name string, top bool) (err error) {
	s.ready = head
	switch {
	case slices.Contains(containers, name) && top == (name == "moov" || name == "moof"):
		end := int64(toTheEnd)
		if s.left != toTheEnd {
			end = s.at + s.left
		}
		s.inside, s.left = append(s.inside, end), 0
	case top && s.still && name == "meta":
		return s.meta(head)
	case top && !slices.Contains(shownBoxes, name), !top && slices.Contains(about, name):
		copy(head[4:], "free")
		s.blank = true
	case !top && slices.Contains(timed, name):
		return s.untime(head)
	}
	return nil
}

// untime reads the beginning of a box and takes out the times.
func (s *boxes) untime(head []byte) error {
	const version, times, longTimes = 4, 8, 16
	more, err := s.take(min(s.left, version+longTimes))
	if err != nil {
		return err
	}
	s.ready, s.left = append(head, more...), s.left-int64(len(more))
	if len(more) < version+longTimes {
		return nil // It is none.
	}
	if more[0] == 0 {
		more = more[:version+times]
	}
	clear(s.ready[len(head)+version : len(head)+len(more)])
	return nil
}

// meta reads the box that says what a still consists of, overwrites what is about the
// owner in it, and notes where the rest of that is.
func (s *boxes) meta(head []byte) error {
	if s.left > metaBytes {
		return fmt.Errorf("%w: it says too much about itself", ErrDamaged)
	}
	from := s.at - int64(len(head))
	body, err := s.take(s.left)
	if err != nil {
		return err
	}
	if int64(len(body)) != s.left {
		return fmt.Errorf("%w: it ends early", ErrDamaged)
	}
	whole := append(head, body...)
	blots, err := blotsOf(whole, len(head), from)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	s.ready, s.left, s.blots = whole, 0, append(s.blots, blots...)
	s.blotOut(whole, from)
	return nil
}
