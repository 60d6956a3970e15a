package push

import (
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// refusals counts how often in a row the push services of devices refused. It lives
// as long as the claim: a successor counts from 0.
type refusals map[handset]int

// handset is a registration as long as its address stays.
type handset struct {
	user            chat.UserID
	device, address string
}

func (r refusals) of(to *devices.Registration) int {
	return r[handset{to.User, to.Device, to.Address}]
}

// note counts a verdict.
func (r refusals) note(to *devices.Registration, v Verdict) {
	at := handset{to.User, to.Device, to.Address}
	switch v {
	case Delivered, Gone:
		delete(r, at)
	case Later: // It says nothing about the device.
	case Refused:
		if len(r) >= RefusalsKept {
			clear(r) // Begin anew rather than grow.
		}
		r[at]++
	}
}
