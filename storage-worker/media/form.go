package media

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"time"

	"switchboard/internal/chat"
)

const (
	// fieldsMax and fieldBytes bound what may stand in a form before the file.
	fieldsMax  = 8
	fieldBytes = 64 << 10
)

// errBroken says that a form ended before its end, or came too slowly.
var errBroken = chat.Errorf(chat.BadRequest, "the form did not arrive whole")

// FileIn returns the file of a form: the part named "file", which is the last one.
// What is before it does not count. The file has ended when the whole form has: one
// that breaks off, however near its end, is an error of the file.
func FileIn(form *multipart.Reader) (name string, body io.Reader, err error) {
	for range fieldsMax {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, errBroken
		}
		if part.FormName() == "file" {
			return part.FileName(), &lastPart{form: form, part: part}, nil
		}
		n, err := io.Copy(io.Discard, io.LimitReader(part, fieldBytes+1))
		switch {
		case err != nil:
			return "", nil, errBroken
		case n > fieldBytes:
			return "", nil, chat.Errorf(chat.BadRequest, "a field of the form is too long")
		}
	}
	return "", nil, chat.Errorf(chat.BadRequest, "the form has no part named file")
}

// lastPart reads a part that must be the last one.
type lastPart struct {
	form *multipart.Reader
	part *multipart.Part
	end  error // what ended it
}

func (p *lastPart) Read(b []byte) (int, error) {
	if p.end != nil {
		return 0, p.end
	}
	n, err := p.part.Read(b)
	if err == io.EOF { //nolint:errorlint // one that is wrapped is no end
		if _, err = p.form.NextRawPart(); err == nil {
			err = chat.Errorf(chat.BadRequest, "the part named file must be the last one")
		}
	}
	if _, known := errors.AsType[*chat.Error](err); err != nil && err != io.EOF && !known { //nolint:errorlint // as above
		err = errBroken
	}
	p.end = err
	return n, err
}

// The least speed of an upload.
const (
	// Patience is how long a body may bring nothing, and how far it may fall behind.
	Patience = 30 * time.Second
	// SlowestBytesPerSecond is how fast it must be, taken as a whole.
	SlowestBytesPerSecond = 32 << 10
	// UploadTimeout is how long the slowest one may take.
	UploadTimeout = Patience + FileBytes/SlowestBytesPerSecond*time.Second + time.Minute
)

// Pace bounds how long a body may take.
type Pace struct {
	Patience time.Duration    // 0: [Patience]
	Now      func() time.Time // nil: time.Now
	// Until sets the deadline of reading; the zero time is none.
	Until func(time.Time) error
}

// Paced returns a body of which each read has a deadline: nobody holds an upload
// open by sending a byte now and then. When it has ended there is none any more, and
// it is not read again: the server watches the connection then, and would take what
// passes for a client that is gone.
func Paced(body io.Reader, pace Pace) io.Reader {
	if pace.Patience == 0 {
		pace.Patience = Patience
	}
	if pace.Now == nil {
		pace.Now = time.Now
	}
	return &paced{body: body, Pace: pace, began: pace.Now()}
}

type paced struct {
	Pace
	body  io.Reader
	began time.Time
	got   int64
	end   error // what ended it
}

func (p *paced) Read(b []byte) (int, error) {
	if p.end != nil {
		return 0, p.end
	}
	deadline := p.began.Add(p.Patience + time.Duration(p.got)*time.Second/SlowestBytesPerSecond)
	if soon := p.Now().Add(p.Patience); soon.Before(deadline) {
		deadline = soon
	}
	if err := p.Until(deadline); err != nil {
		return 0, fmt.Errorf("set a deadline: %w", err)
	}
	n, err := p.body.Read(b)
	p.got += int64(n)
	p.end = err
	if err == io.EOF { // io.Reader says it just so
		if err := p.Until(time.Time{}); err != nil {
			p.end = fmt.Errorf("end a deadline: %w", err)
		}
	}
	return n, p.end
}
