package bus

import "errors"

// ErrMalformed is the error of every Parse function for bytes that are not such
// a record: cut short, with a field of the wrong shape, or of an unknown codec.
var ErrMalformed = errors.New("malformed record")
