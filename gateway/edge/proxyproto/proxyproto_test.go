package proxyproto

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// binaryHeader returns a header of version 2 with so many bytes behind the fixed part.
func binaryHeader(command, family byte, block string) string {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(block)))
	return signature + string([]byte{command, family}) + string(length) + block
}

const (
	block4 = "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
	block6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xdc\x04\x01\xbb"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc6\x33\x64\x01\xdc\x04\x01\xbb"
)

// withChecksum puts the right checksum into the last four bytes of a header.
func withChecksum(header string) string {
	b := []byte(header)
	clear(b[len(b)-4:])
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

// headers are whole headers and the client that each names; "" = none.
func headers() []struct{ name, header, want string } {
	return []struct{ name, header, want string }{
		{"line, IPv4", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7:56324"},
		{"line, IPv4, longest", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
		{"line, IPv6", "PROXY TCP6 2001:DB8::7 2001:db8::1 56324 443\r\n", "[2001:db8::7]:56324"},
		{
			"line, IPv6, longest", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		},
		{"line, IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::1 0 443\r\n", "192.0.2.7:0"},
		{"line, unknown", "PROXY UNKNOWN\r\n", ""},
		{"line, unknown, longest", "PROXY UNKNOWN " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n", ""},
		{"line, unknown, anything", "PROXY UNKNOWN \r \n\x00\xff\r\n", ""},
		{"local", binaryHeader(local, 0, ""), ""},
		{"local, with addresses that are skipped", binaryHeader(local, 0x11, block4), ""},
		{"local, with a family that does not count", binaryHeader(local, 0xff, "anything"), ""},
		{"TCP over IPv4", binaryHeader(proxy, 0x11, block4), "192.0.2.7:56324"},
		{"UDP over IPv4, as for HTTP/3", binaryHeader(proxy, 0x12, block4), "192.0.2.7:56324"},
		{"TCP over IPv6", binaryHeader(proxy, 0x21, block6), "[2001:db8::7]:56324"},
		{"IPv4 in IPv6", binaryHeader(proxy, 0x21, mapped), "192.0.2.7:56324"},
		{"a socket in the file system", binaryHeader(proxy, 0x31, strings.Repeat("/", 216)), ""},
		{"unspecified", binaryHeader(proxy, 0x00, "whatever"), ""},
		{"unspecified family", binaryHeader(proxy, 0x01, ""), ""},
		{"unspecified transport", binaryHeader(proxy, 0x10, ""), ""},
		{"with values", binaryHeader(proxy, 0x11, block4+"\x04\x00\x00\x02\x00\x04host\xea\x00\x05\x01vpce"), "192.0.2.7:56324"},
		{"with a checksum", withChecksum(binaryHeader(proxy, 0x21, block6+"\x02\x00\x01h"+"\x03\x00\x04sum.")), "[2001:db8::7]:56324"},
		{"as long as it may be", binaryHeader(proxy, 0x11, block4+"\x04"+"\x1f\xe1"+strings.Repeat("x", MaxBytes-fixedBytes-12-3)), "192.0.2.7:56324"},
	}
}

func TestHeaders(t *testing.T) {
	for _, tt := range headers() {
		source, size, err := Parse([]byte(tt.header + "GET / HTTP/1.1\r\n"))
		got := source.String()
		if !source.IsValid() {
			got = ""
		}
		if err != nil || size != len(tt.header) || got != tt.want {
			t.Errorf("%s: got %q, %d bytes, %v; want %q, %d bytes", tt.name, got, size, err, tt.want, len(tt.header))
		}
		for cut := range len(tt.header) {
			if source, size, err := Parse([]byte(tt.header[:cut])); err != nil || size != 0 || source.IsValid() {
				t.Fatalf("%s: the first %d bytes: got %v, %d, %v; want to be asked for more", tt.name, cut, source, size, err)
			}
		}
	}
}

// The example of the package comment, and that of RFC 3720 for the checksum.
func TestExample(t *testing.T) {
	raw, err := hex.DecodeString("0d0a0d0a000d0a515549540a2111000cc0000207c6336401dc0401bb")
	if err != nil {
		t.Fatal(err)
	}
	if source, size, err := Parse(raw); source != netip.MustParseAddrPort("192.0.2.7:56324") || size != 28 || err != nil {
		t.Errorf("got %v, %d, %v", source, size, err)
	}
	if got := sum(make([]byte, 32), 8); got != 0x8a9136aa {
		t.Errorf("the checksum of 32 zeros is %x, want 8a9136aa", got)
	}
}

func TestGarbageIsRefusedAtItsFirstWrongByte(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		at         int // after so many bytes it is known
		want       error
	}{
		{"a request without a header", "GET / HTTP/1.1\r\n", 1, ErrMissing},
		{"TLS", "\x16\x03\x01", 1, ErrMissing},
		{"lower case", "proxy TCP4", 1, ErrMissing},
		{"POST", "POST / HTTP/1.1\r\n", 2, ErrMissing},
		{"two spaces", "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n", 33, ErrMalformed},
		{"tab", "PROXY\tTCP4", 6, ErrMissing},
		{"nearly a signature", "\r\n\r\n\x00\r\nQUIP", 11, ErrMissing},
		{"version 1 in binary", signature + "\x11\x11", 13, ErrMalformed},
		{"version 3", signature + "\x31\x11", 13, ErrMalformed},
		{"unknown command", signature + "\x22\x11", 13, ErrMalformed},
		{"unknown family", signature + "\x21\x41", 14, ErrMalformed},
		{"unknown transport", signature + "\x21\x13", 14, ErrMalformed},
		{"too long", signature + "\x21\x11\x1f\xf1", 16, ErrMalformed},
		{"longest of all", signature + "\x20\x00\xff\xff", 16, ErrMalformed},
		{"no room for IPv4", signature + "\x21\x11\x00\x0b", 16, ErrMalformed},
		{"no room for IPv6", signature + "\x21\x21\x00\x23", 16, ErrMalformed},
		{"no room for names", signature + "\x21\x31\x00\xd7", 16, ErrMalformed},
		{"half a value", binaryHeader(proxy, 0x11, block4+"\x04\x00"), 30, ErrMalformed},
		{"a value beyond the end", binaryHeader(proxy, 0x11, block4+"\x04\x00\x02x"), 32, ErrMalformed},
		{"wrong checksum", binaryHeader(proxy, 0x11, block4+"\x03\x00\x04abcd"), 35, ErrMalformed},
		{"short checksum", binaryHeader(proxy, 0x11, block4+"\x03\x00\x03abc"), 34, ErrMalformed},
		{"two checksums", binaryHeader(proxy, 0x11, block4+"\x03\x00\x04abcd\x03\x00\x04abcd"), 42, ErrMalformed},
		{"an endless line", "PROXY UNKNOWN " + strings.Repeat("x", 200), 107, ErrMalformed},
		{"LF alone", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n" + strings.Repeat("x", 100), 107, ErrMalformed},
	} {
		for cut := 1; cut <= len(tt.sent); cut++ {
			_, size, err := Parse([]byte(tt.sent[:cut]))
			var want error
			if cut >= tt.at {
				want = tt.want
			}
			if size != 0 || !errors.Is(err, want) {
				t.Errorf("%s: after %d bytes: got %d, %v, want %v", tt.name, cut, size, err, want)
				break
			}
		}
	}
}

func TestLinesThatBreakTheRules(t *testing.T) {
	for _, line := range []string{
		"PROXY ", "PROXY TCP4", "PROXY TCP4 ", "PROXY TCP4 1.2.3.4 1.2.3.4 1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 ",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1", "PROXY UDP4 1.2.3.4 1.2.3.4 1 1", "PROXY UNKNOWNS", "PROXY TCP4 1.2.3.04 1.2.3.4 1 1",
		"PROXY TCP4 1.2.3 1.2.3.4 1 1", "PROXY TCP4 ::1 ::1 1 1", "PROXY TCP6 1.2.3.4 1.2.3.4 1 1", "PROXY TCP6 ::1 1.2.3.4 1 1",
		"PROXY TCP6 fe80::1%eth0 ::1 1 1", "PROXY TCP4 1.2.3.4 1.2.3.4 01 1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536",
		"PROXY TCP4 1.2.3.4 1.2.3.4 -1 1", "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r", "PROXY TCP4 1.2.3.4 256.2.3.4 1 1",
	} {
		if _, size, err := Parse([]byte(line + "\r\n")); size != 0 || !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %d, %v, want it to be malformed", line, size, err)
		}
	}
}

func TestTrusted(t *testing.T) {
	trusted, err := ParseTrusted([]string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]bool{
		"10.1.2.3": true, "11.1.2.3": false, "192.0.2.1": true, "192.0.2.2": false, "::ffff:10.1.2.3": true,
		"2001:db8:1::1": true, "2001:db9::1": false, "::1": true, "::2": false, "2001:db8::1%eth0": true,
	} {
		if got := trusted.Contains(netip.MustParseAddr(peer)); got != want {
			t.Errorf("%s: got %v, want %v", peer, got, want)
		}
	}
	if Trusted(nil).Contains(netip.MustParseAddr("10.1.2.3")) {
		t.Error("nobody is trusted, and yet somebody is")
	}
	for _, bad := range []string{"", "10.0.0.0/33", "10.0.0.1/8", "host", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/8,"} {
		if _, err := ParseTrusted([]string{bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v, want an error that shows it", bad, err)
		}
	}
}

// FuzzParse: what is decided after some bytes stays decided when more come, in the
// same way; a header ends within its bounds; a client has an address that is not an
// IPv4 in disguise.
func FuzzParse(f *testing.F) {
	for _, h := range headers() {
		f.Add([]byte(h.header))
	}
	f.Add([]byte("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n"))
	f.Add([]byte(signature + "\x21\x11\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		source, size, err := Parse(b)
		if size < 0 || size > min(len(b), MaxBytes) || err != nil && (size != 0 || source.IsValid()) {
			t.Fatalf("%q: got %v, %d, %v", b, source, size, err)
		}
		if err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%q: got %v", b, err)
		}
		if size == 0 && err == nil && len(b) >= MaxBytes {
			t.Fatalf("%d bytes are no header yet", len(b))
		}
		if source.Addr().Is4In6() || source.Addr().Zone() != "" {
			t.Fatalf("%q: got %v", b, source)
		}
		for cut := range min(len(b), 600) {
			early, earlySize, earlyErr := Parse(b[:cut])
			if earlySize == 0 && earlyErr == nil {
				continue
			}
			if early != source || earlySize != size || (earlyErr == nil) != (err == nil) || err != nil && err.Error() != earlyErr.Error() {
				t.Fatalf("%q: the first %d bytes: %v, %d, %v; all: %v, %d, %v", b, cut, early, earlySize, earlyErr, source, size, err)
			}
			return
		}
	})
}
