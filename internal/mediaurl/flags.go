package mediaurl

import (
	"flag"
	"fmt"
)

// Flags are those of every program that makes or checks URLs.
type Flags struct{ keys, base string }

// Bind adds them to a program's flags.
func Bind(set *flag.FlagSet) *Flags {
	f := new(Flags)
	set.StringVar(&f.keys, "media-keys", "", "`FILE` with the keys that the URLs of uploads are signed with, the same for gateway, router and storage-worker: one a line\nin base64, 32 bytes or more; the first one signs. SIGHUP reads it again. Without it nobody can send media")
	set.StringVar(&f.base, "rest-url", "", "`URL` where clients reach REST, such as https://chat.example.org, which begins the URLs of uploads;\nempty: they are relative to it")
	return f
}

// Open opens what the flags name; nil without -media-keys. The error is that of a
// wrong flag.
func (f *Flags) Open() (*Links, error) {
	l, err := Open(f.keys, f.base)
	if err != nil {
		return nil, fmt.Errorf("-media-keys, -rest-url: %w", err)
	}
	return l, nil
}
