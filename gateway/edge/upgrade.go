package edge

import (
	"bytes"
	"crypto/sha1" // RFC 6455 wants it; nothing secret hangs on it.
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRequest bounds the request line and the header fields together.
const maxRequest = 8 << 10

// refusal is an HTTP answer instead of the 101.
type refusal struct {
	status int
	body   string // one line
}

// The refusals of a request that is no upgrade by RFC 6455.
var (
	notHTTP      = &refusal{} // no answer at all: TLS, or noise
	tooLarge     = &refusal{http.StatusRequestHeaderFieldsTooLarge, "the request is larger than 8 KiB"}
	badLineEnd   = &refusal{http.StatusBadRequest, "lines end with CR LF"}
	badLine      = &refusal{http.StatusBadRequest, "the request line is not GET, a path, HTTP/1.1"}
	badField     = &refusal{http.StatusBadRequest, "a header field is malformed"}
	badHost      = &refusal{http.StatusBadRequest, "exactly one Host is needed"}
	badBody      = &refusal{http.StatusBadRequest, "an upgrade request has no body"}
	badKey       = &refusal{http.StatusBadRequest, "exactly one Sec-WebSocket-Key of 16 bytes in base64 is needed"}
	badRepeat    = &refusal{http.StatusBadRequest, "a header field is repeated"}
	badProxy     = &refusal{http.StatusBadRequest, "a PROXY header is not taken from this address"}
	wrongVersion = &refusal{http.StatusUpgradeRequired, "Sec-WebSocket-Version must be 13"}
	noUpgrade    = &refusal{http.StatusUpgradeRequired, "this is a WebSocket endpoint"}
)

// requestEnd looks for the empty line that ends the request in b. end is what
// follows it, or 0 to ask for more bytes. Bytes are judged in their order, so
// the answer does not depend on how they were cut. from is where to begin: all
// before has been seen.
func requestEnd(b []byte, from int) (end int, no *refusal) {
	if len(b) > 0 && (b[0] < 'A' || b[0] > 'Z') {
		return 0, notHTTP
	}
	for at := from; at < min(len(b), maxRequest); at++ {
		i := bytes.IndexByte(b[at:min(len(b), maxRequest)], '\n')
		if i < 0 {
			break
		}
		at += i
		if at == 0 || b[at-1] != '\r' {
			return 0, badLineEnd
		}
		if at >= 3 && b[at-2] == '\n' {
			return at + 1, nil
		}
	}
	if len(b) >= maxRequest {
		return 0, tooLarge
	}
	return 0, nil
}

// fields are the header fields of an upgrade request as they came.
type fields struct {
	Request
	key        string
	keys       int
	hosts      int
	version    string
	upgrade    bool
	connection bool
	body       bool
}

// parseRequest reads a whole request, as requestEnd has found it.
func parseRequest(b []byte) (r *Request, key string, no *refusal) {
	line, rest, _ := strings.Cut(string(b), "\r\n")
	f := new(fields)
	if no := f.requestLine(line); no != nil {
		return nil, "", no
	}
	for rest != "\r\n" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if no := f.field(line); no != nil {
			return nil, "", no
		}
	}
	if no := f.check(); no != nil {
		return nil, "", no
	}
	return &f.Request, f.key, nil
}

func (f *fields) requestLine(line string) *refusal {
	method, rest, _ := strings.Cut(line, " ")
	if method == "PROXY" {
		return badProxy
	}
	target, version, _ := strings.Cut(rest, " ")
	if method != http.MethodGet || version != "HTTP/1.1" {
		return badLine
	}
	// RFC 6455 allows the absolute form too.
	if scheme, after, ok := strings.Cut(target, "://"); ok && isScheme(scheme) {
		at := strings.IndexByte(after, '/')
		if at < 0 {
			return badLine
		}
		target = after[at:]
	}
	if !strings.HasPrefix(target, "/") {
		return badLine
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return badLine
		}
	}
	f.Path, f.Query, _ = strings.Cut(target, "?")
	return nil
}

func (f *fields) field(line string) *refusal {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) {
		return badField
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return badField
		}
	}
	switch strings.ToLower(name) {
	case "host":
		f.Host = value
		f.hosts++
	case "upgrade":
		f.upgrade = f.upgrade || listHas(value, "websocket")
	case "connection":
		f.connection = f.connection || listHas(value, "upgrade")
	case "sec-websocket-key":
		f.key = value
		f.keys++
	case "sec-websocket-version":
		return f.once(&f.version, value)
	case "sec-websocket-protocol":
		return f.protocols(value)
	case "origin":
		return f.once(&f.Origin, value)
	case "authorization":
		return f.once(&f.Authorization, value)
	case "x-device-id":
		return f.once(&f.DeviceID, value)
	case "content-length":
		f.body = f.body || value != "0"
	case "transfer-encoding":
		f.body = true
	}
	return nil
}

func (f *fields) once(field *string, value string) *refusal {
	if *field != "" {
		return badRepeat
	}
	*field = value
	return nil
}

func (f *fields) protocols(value string) *refusal {
	for one := range strings.SplitSeq(value, ",") {
		one = strings.Trim(one, " \t")
		if one == "" {
			continue
		}
		if !isToken(one) {
			return badField
		}
		f.Protocols = append(f.Protocols, one)
	}
	return nil
}

func (f *fields) check() *refusal {
	switch {
	case f.hosts != 1 || f.Host == "":
		return badHost
	case f.body:
		return badBody
	case !f.upgrade || !f.connection:
		return noUpgrade
	case f.version != "13":
		return wrongVersion
	case f.keys != 1 || !isKey(f.key):
		return badKey
	}
	return nil
}

func isKey(s string) bool {
	var raw [18]byte // what 24 characters can be
	if len(s) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(raw[:], []byte(s))
	return err == nil && n == 16
}

func listHas(list, token string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(one, " \t"), token) {
			return true
		}
	}
	return false
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// isScheme reports whether s is a scheme of RFC 3986, section 3.1.
func isScheme(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// acceptKey returns the Sec-WebSocket-Accept that answers a key.
func acceptKey(key string) (accept [28]byte) {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

func appendSwitch(dst []byte, accept [28]byte, protocol string) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(dst, accept[:]...)
	if protocol != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), protocol...)
	}
	return append(dst, "\r\n\r\n"...)
}

// appendRefusal appends an HTTP answer that ends the connection.
func appendRefusal(dst []byte, no *refusal, retryAfter time.Duration) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(no.status), 10)
	dst = append(append(dst, ' '), http.StatusText(no.status)...)
	dst = append(dst, "\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"...)
	switch no.status {
	case http.StatusUnauthorized:
		dst = append(dst, "WWW-Authenticate: Bearer\r\n"...)
	case http.StatusUpgradeRequired:
		dst = append(dst, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"...)
	}
	if retryAfter > 0 {
		dst = append(dst, "Retry-After: "...)
		dst = strconv.AppendInt(dst, int64((retryAfter+time.Second-1)/time.Second), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(no.body)+1), 10)
	return append(append(append(dst, "\r\n\r\n"...), no.body...), '\n')
}
