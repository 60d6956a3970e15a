package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deeply a client may nest what nobody reads. One bit per
// level remembers whether it is an object, so more would not fit a word.
const maxDepth = 64

// cursor checks JSON (RFC 8259) in place and remembers where values begin and
// end; it decodes nothing. It accepts exactly what encoding/json accepts, except
// that nesting is bounded by maxDepth.
type cursor struct {
	b  []byte
	at int
}

// value is one whole JSON value, checked, without the space around it; nil
// stands for one that is absent.
type value []byte

// peek returns the byte at hand, 0 at the end: no JSON text holds a raw one.
func (c *cursor) peek() byte {
	if c.at < len(c.b) {
		return c.b[c.at]
	}
	return 0
}

// take goes past the byte want, if that is at hand.
func (c *cursor) take(want byte) bool {
	if c.peek() != want {
		return false
	}
	c.at++
	return true
}

func (c *cursor) space() {
	for c.at < len(c.b) {
		switch c.b[c.at] {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return
		}
	}
}

// object goes over an object and notes the value of each of the names; of a name
// that comes twice the last counts, as encoding/json has it. At an error it has
// noted what came before.
func (c *cursor) object(names []string, values []value) bool {
	if !c.take('{') {
		return false
	}
	c.space()
	if c.take('}') {
		return true
	}
	for {
		name, ok := c.name()
		if !ok {
			return false
		}
		begin := c.at
		if !c.value() {
			return false
		}
		if i := indexOf(name, names); i >= 0 {
			values[i] = c.b[begin:c.at]
		}
		c.space()
		if c.take('}') {
			return true
		}
		if !c.take(',') {
			return false
		}
		c.space()
	}
}

// indexOf returns the place of a name among some, all in ASCII, given as a JSON string,
// or −1.
func indexOf(name value, names []string) int {
	for i, n := range names {
		if string(name[1:len(name)-1]) == n { // As nearly every client writes it.
			return i
		}
	}
	if bytes.IndexByte(name, '\\') < 0 {
		return -1
	}
	// No name of ours is longer than half of this, even in escapes a client
	// has no use for; a longer one is unknown.
	var room [64]byte
	decoded, fault := name.unquote(room[:0], len(room)-utf8.UTFMax)
	if fault != sound {
		return -1
	}
	for i, n := range names {
		if string(decoded) == n {
			return i
		}
	}
	return -1
}

// name goes past a member's name, the colon and the space around them.
func (c *cursor) name() (name value, ok bool) {
	begin := c.at
	if !c.string() {
		return nil, false
	}
	name = c.b[begin:c.at]
	c.space()
	if !c.take(':') {
		return nil, false
	}
	c.space()
	return name, true
}

// value goes past one value of any kind, without recursion.
func (c *cursor) value() bool {
	var objects uint64 // bit d: what is open at depth d is an object
	depth := 0
	for {
		switch open := c.peek(); open {
		case '{', '[':
			c.at++
			if depth == maxDepth {
				return false
			}
			depth++
			objects <<= 1
			if open == '{' {
				objects |= 1
			}
			c.space()
			if c.peek() != open+2 { // In ASCII the closing one is two further.
				if open == '{' {
					if _, ok := c.name(); !ok {
						return false
					}
				}
				continue
			}
		default:
			if !c.scalar() {
				return false
			}
		}
		var ok bool
		if depth, ok = c.after(depth, &objects); !ok || depth == 0 {
			return ok
		}
	}
}

// after goes from the end of a value to the beginning of the next one, closing
// what ends in between. Depth 0 says that the outermost value is over.
func (c *cursor) after(depth int, objects *uint64) (int, bool) {
	for depth > 0 {
		object := *objects&1 == 1
		c.space()
		switch b := c.peek(); {
		case b == '}' && object, b == ']' && !object:
			c.at++
			depth--
			*objects >>= 1
		case b == ',':
			c.at++
			c.space()
			if object {
				_, ok := c.name()
				return depth, ok
			}
			return depth, true
		default:
			return depth, false
		}
	}
	return 0, true
}

// scalar goes past a string, a number or a word.
func (c *cursor) scalar() bool {
	switch c.peek() {
	case '"':
		return c.string()
	case 't':
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	}
	return c.number()
}

func (c *cursor) word(w string) bool {
	if len(c.b)-c.at < len(w) || string(c.b[c.at:c.at+len(w)]) != w {
		return false
	}
	c.at += len(w)
	return true
}

// string goes past a string, quotes included.
func (c *cursor) string() bool {
	if !c.take('"') {
		return false
	}
	for c.at < len(c.b) {
		switch b := c.b[c.at]; {
		case b == '"':
			c.at++
			return true
		case b == '\\':
			if !c.escape() {
				return false
			}
		case b < ' ':
			return false
		default:
			c.at++
		}
	}
	return false
}

// escape goes past a backslash and what belongs to it.
func (c *cursor) escape() bool {
	c.at++
	switch c.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		c.at++
		return true
	case 'u':
		if _, ok := hex4(c.b[c.at+1:]); ok {
			c.at += 5
			return true
		}
	}
	return false
}

// number goes past -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (c *cursor) number() bool {
	c.take('-')
	if !c.take('0') && !c.digits() {
		return false
	}
	if c.take('.') && !c.digits() {
		return false
	}
	if c.take('e') || c.take('E') {
		if !c.take('+') {
			c.take('-')
		}
		return c.digits()
	}
	return true
}

func (c *cursor) digits() bool {
	begin := c.at
	for '0' <= c.peek() && c.peek() <= '9' {
		c.at++
	}
	return c.at > begin
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// absent reports whether v says nothing: null is the same as not there.
func (v value) absent() bool { return v == nil || v[0] == 'n' }

// fault is what is wrong with a string beyond JSON's grammar.
type fault uint8

const (
	sound   fault = iota
	tooLong       // more bytes than its limit
	notText       // half a surrogate pair, or bytes that are not UTF-8
)

// unquote appends the text of v, which is a string, to dst, at most limit bytes.
func (v value) unquote(dst []byte, limit int) ([]byte, fault) {
	begin := len(dst)
	for b := v[1 : len(v)-1]; len(b) > 0; {
		n := 1
		switch {
		case b[0] != '\\':
			for n < len(b) && b[n] != '\\' {
				n++
			}
			if n > limit-(len(dst)-begin) {
				return nil, tooLong
			}
			if !utf8.Valid(b[:n]) {
				return nil, notText
			}
			dst = append(dst, b[:n]...)
		case b[1] != 'u':
			n = 2
			dst = append(dst, unescaped(b[1]))
		default:
			var r rune
			if r, n = unicodeEscape(b); n == 0 {
				return nil, notText
			}
			dst = utf8.AppendRune(dst, r)
		}
		if len(dst)-begin > limit {
			return nil, tooLong
		}
		b = b[n:]
	}
	return dst, sound
}

// unicodeEscape returns the character that b begins with, in one or two \u
// escapes, and how many bytes they take: none for half a surrogate pair.
func unicodeEscape(b []byte) (r rune, size int) {
	r, _ = hex4(b[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
		return utf8.RuneError, 0
	}
	low, _ := hex4(b[8:])
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return r, 0
	}
	return r, 12
}

// unescaped returns the byte that a backslash and c stand for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
