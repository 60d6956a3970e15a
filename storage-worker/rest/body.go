package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"switchboard/internal/chat"
)

// readBody returns the body of a request, which is JSON in UTF-8. An absent body
// is nil where it may be absent.
func readBody(r *http.Request, limit int64, optional bool) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, chat.Errorf(chat.TooLarge, "the body is longer than %d bytes", limit)
	case err != nil:
		return nil, badRequest("the body did not arrive whole")
	case len(body) == 0 && optional:
		return nil, nil
	}
	if err := judgeType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, chat.Errorf(chat.UnsupportedMedia, "the body must not be compressed")
	}
	if !utf8.Valid(body) {
		return nil, badRequest("the body is not UTF-8")
	}
	return body, nil
}

// decode reads a body, which is an object, into out. What the JSON library would
// replace silently is refused: names come back as they were sent.
func decode(body []byte, out any) error {
	object := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) // To the library null is one, too.
	if err := json.Unmarshal(body, out); err != nil || !object {
		return badRequest("the body is not the JSON object that this call takes")
	}
	if loneSurrogate(body) {
		return badRequest(`the body has half of a surrogate pair (\ud800 … \udfff)`)
	}
	return nil
}

// loneSurrogate reports whether valid JSON has an escape that encodes no
// character.
func loneSurrogate(body []byte) bool {
	for i := 0; i+1 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // Now at the escaped character; an escaped backslash ends here.
		switch escaped(body[i:]) >> 10 {
		case 0xdc00 >> 10:
			return true
		case 0xd800 >> 10:
			if i += 5; i+1 >= len(body) || body[i] != '\\' || escaped(body[i+1:])>>10 != 0xdc00>>10 {
				return true
			}
			i += 5 // At the pair's last digit.
		}
	}
	return false
}

// escaped returns the code unit of a `u` with four hexadecimal digits, or 0.
func escaped(b []byte) uint64 {
	if len(b) < 5 || b[0] != 'u' {
		return 0
	}
	u, err := strconv.ParseUint(string(b[1:5]), 16, 16)
	if err != nil {
		return 0
	}
	return u
}

// requestIDOf returns the client's own id for a command: the body's, or the
// header's where the body has none, or a new one.
func requestIDOf(r *http.Request, inBody chat.RequestID) (chat.RequestID, error) {
	keys := r.Header.Values("Idempotency-Key")
	switch {
	case !inBody.IsZero():
		return inBody, nil
	case len(keys) == 0:
		return chat.NewRequestID(), nil
	}
	id, err := chat.ParseRequestID(keys[0])
	if err != nil || id.IsZero() || len(keys) > 1 {
		return chat.RequestID{}, badRequest("Idempotency-Key must be one UUID")
	}
	return id, nil
}

// limitOf reads the query's limit.
func limitOf(query url.Values) (int, error) {
	n, given, err := number(query, "limit")
	if err != nil {
		return 0, err
	}
	if !given {
		return chat.PageDefault, nil
	}
	if n < 1 || n > chat.PageMax {
		return 0, badRequest("limit must be 1 to %d", chat.PageMax)
	}
	return int(n), nil
}

// number reads a parameter that is a whole number ≥ 0.
func number(query url.Values, name string) (n int64, given bool, err error) {
	text, given, err := single(query, name)
	if err != nil || !given {
		return 0, given, err
	}
	n, err = strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, true, badRequest("%s must be a whole number", name)
	}
	return n, true, nil
}

// single reads a parameter that may be given once.
func single(query url.Values, name string) (text string, given bool, err error) {
	values := query[name]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", true, badRequest("%s is given more than once", name)
}

// judgeType refuses bodies that say they are something other than JSON. Saying
// nothing is fine, and so is a form's type, which curl says of whatever it posts:
// the body is read as JSON all the same, and no browser's form can carry a token.
func judgeType(header string) error {
	if header == "" {
		return nil
	}
	mediaType, parameters, err := mime.ParseMediaType(header)
	if err != nil || mediaType != "application/json" && mediaType != "application/x-www-form-urlencoded" {
		return chat.Errorf(chat.UnsupportedMedia, "the body's Content-Type must be application/json")
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return chat.Errorf(chat.UnsupportedMedia, "JSON is in UTF-8")
	}
	return nil
}
