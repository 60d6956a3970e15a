package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// box is a box of some parts, or of bytes.
func box(name string, parts ...string) string {
	body := strings.Join(parts, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))) + name + body
}

// u16 and u32 are numbers in a file.
func u16(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func u32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

const (
	pixels = "these are the pixels"
	// phoneExif is an item as a phone writes it.
	phoneExif = "\x00\x00\x00\x06Exif\x00\x00MM\x00*" + secret
)

// still is a HEIC as a phone writes it: Exif and XMP in mdat, a description in the box
// itself, a film behind. place tells where in the file mdat has its content.
func still(version int, place func(at int) int) string {
	item := func(id int, kind string) string {
		return box("infe", "\x02\x00\x00\x00", u16(id), u16(0), kind, "\x00")
	}
	name := func(mdat int) string {
		extent := func(id, method, from, size int) string {
			switch version {
			case 0:
				return u16(id) + u16(0) + u16(1) + u32(from) + u32(size)
			case 1:
				return u16(id) + u16(method) + u16(0) + u16(1) + u32(from) + u32(size)
			}
			return u32(id) + u16(method) + u16(0) + u16(1) + u32(from) + u32(size)
		}
		count := u16(4)
		if version == 2 {
			count = u32(4)
		}
		method := 1
		if version == 0 {
			method = 0
		}
		// What is in the box by itself is found by its place in it, or in the file.
		idat := box("idat", secret)
		iinf := box("iinf", "\x00\x00\x00\x00", u16(4), item(1, "hvc1"), item(2, "Exif"), item(3, "mime"), item(4, "mime"))
		rest := box("iprp", box("ipco", box("ispe", "12345678"), box("udes", secret)), box("ipma", "1234")) + box("xml ", secret) + iinf
		inBox := 0
		if version == 0 {
			inBox = len(box("ftyp", "heic\x00\x00\x00\x00mif1heic")) + 12 + len(rest) + 8
		}
		iloc := box("iloc", string([]byte{byte(version), 0, 0, 0, 0x44, 0}), count,
			extent(1, 0, mdat, len(pixels)), extent(2, 0, mdat+len(pixels), len(phoneExif)),
			extent(3, 0, mdat+len(pixels)+len(phoneExif), len(secret)), extent(4, method, inBox, len(secret)))
		return box("ftyp", "heic\x00\x00\x00\x00mif1heic") + box("meta", "\x00\x00\x00\x00", rest, idat, iloc)
	}
	mdat := place(len(name(0)) + 8)
	return name(mdat) + box("mdat", pixels, phoneExif, secret) + box("mpvd", secret) + "\x00\x00\x00\x00rest" + secret
}

func here(at int) int { return at }

// movie is a film as a phone writes it.
func movie(brand string) string {
	times := "\x12\x34\x56\x78\x12\x34\x56\x78"
	header := func(name string, version byte, times string) string {
		return box(name, string([]byte{version, 0, 0, 0}), times, "SCALE...", strings.Repeat("d", 80))
	}
	track := box("trak", header("tkhd", 0, times), box("meta", secret), box("mdia", header("mdhd", 1, times+times), box("minf", "tables"), "\x00\x00\x00\x00"))
	long := "\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x24" + pixels
	return box("ftyp", brand+"\x00\x00\x00\x00"+brand) + box("free", secret) + long +
		box("moov", header("mvhd", 0, times), track, box("udta", box("\xa9xyz", "\x00\x12\x15\xc7"+secret)), box("meta", "\x00\x00\x00\x00", secret), box("uuid", secret)) +
		box("uuid", "\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac<x:xmpmeta>", secret) + box("moof", box("traf", box("meta", secret), box("trun", "run")))
}

// kept returns what is kept of a file, which is the same however it comes.
func kept(t *testing.T, file string) (string, error) {
	t.Helper()
	read := func(r io.Reader) (string, error) {
		b, err := io.ReadAll(Private([]byte(file[:min(len(file), SniffBytes)]), r))
		return string(b), err
	}
	whole, err := read(strings.NewReader(file))
	bit, err2 := read(iotest.OneByteReader(strings.NewReader(file)))
	last, err3 := read(iotest.DataErrReader(strings.NewReader(file)))
	if bit != whole && err == nil || last != whole && err == nil || (err == nil) != (err2 == nil) || (err == nil) != (err3 == nil) {
		t.Errorf("read otherwise it is another file: %v, %v, %v", err, err2, err3)
	}
	return whole, err
}

func TestStillsAndFilmsOfPhonesLoseWhatIsAboutTheirOwner(t *testing.T) {
	files := map[string]string{"AVIF": strings.ReplaceAll(still(0, here), "heic", "avif"), "by another brand": strings.Replace(still(1, here), "heic", "abcd", 1)}
	for version := range 3 {
		files[fmt.Sprint("HEIC ", version)] = still(version, here)
	}
	for _, brand := range []string{"isom", "mp42", "qt  ", "3gp5", "M4V "} {
		files[brand] = movie(brand)
	}
	for name, file := range files {
		got, err := kept(t, file)
		if err != nil || len(got) != len(file) {
			t.Errorf("%s: got %d bytes of %d, %v", name, len(got), len(file), err)
			continue
		}
		if strings.Contains(got, secret) || strings.Contains(got, "\x12\x34\x56\x78") {
			t.Errorf("%s: it is still there: %q", name, got)
		}
		for _, needed := range []string{pixels, "hvc1", "ispe12345678", "tables", "SCALE...", "trun"} {
			if strings.Count(got, needed) != strings.Count(file, needed) || strings.Index(got, needed) != strings.Index(file, needed) {
				t.Errorf("%s: %q is gone or elsewhere", name, needed)
			}
		}
		if strings.Contains(file, phoneExif) && got[strings.Index(file, phoneExif):][:len(emptyExif)] != string(emptyExif) {
			t.Errorf("%s: a reader of Exif finds none", name)
		}
		if again, err := kept(t, got); err != nil || again != got {
			t.Errorf("%s: kept once more it is another file, %v", name, err)
		}
	}
}

// What cannot be cleaned of its own metadata is no picture for us.
func TestAStillThatHidesItsMetadataIsRefused(t *testing.T) {
	good := still(1, here)
	for name, file := range map[string]string{
		"its metadata comes first":   still(1, func(int) int { return -10 }),
		"it has no table of places":  strings.Replace(good, "iloc", "ilok", 1),
		"its places are nowhere":     strings.Replace(good, "iloc\x01", "iloc\x03", 1),
		"a piece without an end":     strings.Replace(good, u32(len(phoneExif)), u32(0), 1),
		"a piece of another item":    strings.Replace(good, u16(4)+u16(1)+u16(0)+u16(1), u16(4)+u16(2)+u16(0)+u16(1), 1),
		"a box beyond its parent":    strings.Replace(good, "\x00\x00\x00\x15infe", "\x00\x00\xff\x15infe", 1),
		"a box of no size":           strings.Replace(good, "\x00\x00\x00\x15infe", "\x00\x00\x00\x07infe", 1),
		"it says a lot about itself": box("ftyp", "heic\x00\x00\x00\x00") + box("meta", strings.Repeat("\x00", metaBytes+1)),
		"something else":             box("ftyp", "heic\x00\x00\x00\x00") + "<script>alert(1)</script>",
		"cut off in its metadata":    good[:strings.Index(good, "Exif\x00\x00MM")+9],
		"cut off in its description": good[:100],
	} {
		if file == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if got, err := kept(t, file); !errors.Is(err, ErrDamaged) || strings.Contains(got, secret) {
			t.Errorf("%s: got %v, want %v; and of it %q", name, err, ErrDamaged, got)
		}
	}
}

// A film that is cut off or damaged is a file like any other: nothing of it is lost.
func TestADamagedFilmStaysAsLongAsItWas(t *testing.T) {
	file := movie("isom")
	for cut := range len(file) {
		if got, err := kept(t, file[:cut]); err != nil || len(got) != cut || cut > 40 && !strings.HasPrefix(got, file[:24]) {
			t.Fatalf("cut off after %d bytes: got %d, %v", cut, len(got), err)
		}
	}
	damaged := strings.Replace(file, "\x00\x00\x00\x6ctkhd", "\x00\xff\x00\x6ctkhd", 1)
	if got, err := kept(t, damaged); err != nil || damaged == file || len(got) != len(file) || got[strings.Index(file, "tkhd"):] != file[strings.Index(file, "tkhd"):] {
		t.Errorf("damaged: got %d bytes, %v; want the rest as it is", len(got), err)
	}
}

// All other files stay as they are, whatever is in them: nothing here knows them.
func TestOtherFilesStayAsTheyAre(t *testing.T) {
	for name, file := range map[string]string{
		"TIFF":             "MM\x00*\x00\x00\x00\x08" + secret,
		"a raw picture":    strings.ReplaceAll(movie("isom"), "ftypisom", "ftypcrx "),
		"music":            strings.ReplaceAll(movie("isom"), "ftypisom", "ftypM4A "),
		"text":             secret,
		"a short one":      "\x00\x00\x00\x08ftyp",
		"an old QuickTime": movie("qt  ")[20:],
	} {
		if got, err := kept(t, file); err != nil || got != file {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// Whoever reads is told what ended the file, and not that it has ended.
func TestAnErrorOfTheFilePassesThrough(t *testing.T) {
	gone := errors.New("the client went away")
	for _, file := range []string{still(1, here), movie("isom")} {
		for cut := 16; cut < len(file); cut++ {
			for _, cause := range []error{gone, io.ErrUnexpectedEOF} {
				r := Private([]byte(file[:min(len(file), SniffBytes)]), io.MultiReader(strings.NewReader(file[:cut]), iotest.ErrReader(cause)))
				if b, err := io.ReadAll(r); !errors.Is(err, cause) || len(b) > cut {
					t.Fatalf("after %d bytes: got %d, %v, want %v", cut, len(b), err, cause)
				}
			}
		}
	}
}

// Whatever is in a file, as many bytes are kept as came, or it is refused.
func FuzzPrivate(f *testing.F) {
	for version := range 3 {
		f.Add([]byte(still(version, here)))
	}
	f.Add([]byte(movie("isom")))
	f.Add([]byte(movie("qt  ")))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := io.ReadAll(Private(file[:min(len(file), SniffBytes)], bytes.NewReader(file)))
		if len(got) > len(file) || err == nil && len(got) != len(file) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d bytes became %d: %v", len(file), len(got), err)
		}
	})
}
