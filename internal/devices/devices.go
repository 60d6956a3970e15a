// Package devices is where people who are away are notified: which devices asked
// for it and how each is reached, and how far their people have read, so that
// nobody is notified of what they have seen.
//
//	PUT …/devices/{id}/push ──▶ Store ◀── router/push: Of, ReadSeqs, RemoveDead
//	chat.status ──▶ router/push: SetRead ──▶ Store
//
// It decides nothing about notifications and sends none.
package devices

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"switchboard/internal/chat"
)

// The limits of a registration.
const (
	// PerUser is how many devices of a user are notified; one more takes the place
	// of the one that registered longest ago.
	PerUser = 10
	// AddressBytes bounds an endpoint and a token.
	AddressBytes = 2048
	// ProviderBytes bounds the name of a provider.
	ProviderBytes = 32
	// MutedMax bounds the conversations of which a device is not notified.
	MutedMax = 1000
)

// Kind is how a device is reached.
type Kind string

// The kinds.
const (
	WebPush Kind = "web_push" // by RFC 8030, encrypted for the browser
	Webhook Kind = "webhook"  // by the operator's sender, which knows the token
)

// Registration is a device that wants to be notified.
type Registration struct {
	User    chat.UserID
	Device  string
	Kind    Kind
	Address string // an endpoint of Web Push, or a token
	Settings
	Updated time.Time // set by the store, in whole seconds
}

// Settings are what a store keeps without looking at it.
type Settings struct {
	P256DH   string                `json:"p256dh,omitempty"` // of Web Push, as browsers give it
	Auth     string                `json:"auth,omitempty"`   // the same
	Provider string                `json:"provider,omitempty"`
	MuteAll  bool                  `json:"mute_all,omitempty"`
	Muted    []chat.ConversationID `json:"muted,omitempty"`
}

// Key names what somebody reads.
type Key struct {
	User         chat.UserID
	Conversation chat.ConversationID
}

// Read is how far somebody has read.
type Read struct {
	Key
	Seq chat.Seq
}

// ErrSchema says that the tables are not there, or older than this release.
var ErrSchema = errors.New("the tables of devices are missing or too old")

// Store keeps registrations. All methods are safe for concurrent use and may be
// repeated after an error, whose outcome is unknown.
type Store interface {
	// Put makes or replaces a registration and stamps it. An address belongs to one
	// device: whoever had it before has lost it, as when another person logs in.
	// Beyond [PerUser] the oldest registration of the user goes.
	Put(ctx context.Context, r Registration) error
	// Remove ends a registration and reports whether there was one. What was read
	// is forgotten with the last one of a user.
	Remove(ctx context.Context, u chat.UserID, device string) (bool, error)
	// RemoveDead ends a registration if it still has that address: the device may
	// have registered anew meanwhile.
	RemoveDead(ctx context.Context, u chat.UserID, device, address string) error
	// Of returns the registrations of some users, ordered by user and device.
	Of(ctx context.Context, users []chat.UserID) ([]Registration, error)
	// SetRead notes how far people have read; a lower seq than the stored one
	// changes nothing, and of those without a registration nothing is kept.
	SetRead(ctx context.Context, reads []Read) error
	// ReadSeqs returns what is known of that, in the order of keys; 0 is nothing.
	ReadSeqs(ctx context.Context, keys []Key) ([]chat.Seq, error)
}

// ValidName reports whether a device may be called so.
func ValidName(device string) bool {
	return device != "" && len(device) <= chat.DeviceIDBytes && utf8.ValidString(device) && !strings.Contains(device, "\x00")
}

// Check says what is wrong with a registration, in words for a client's developer.
func (r *Registration) Check() error {
	switch {
	case !ValidName(r.Device):
		return fmt.Errorf("the device's name is empty or longer than %d bytes", chat.DeviceIDBytes)
	case r.Address == "" || len(r.Address) > AddressBytes || strings.Contains(r.Address, "\x00"):
		return fmt.Errorf("endpoint or token is empty, longer than %d bytes or no text", AddressBytes)
	case strings.Contains(r.Provider, "\x00"):
		return errors.New("provider is no text")
	case len(r.Muted) > MutedMax:
		return fmt.Errorf("mute.conversation_ids may be %d at most", MutedMax)
	case slices.ContainsFunc(r.Muted, chat.ConversationID.IsZero):
		return errors.New("mute.conversation_ids contains something that is not an id")
	}
	switch r.Kind {
	case WebPush:
		at, err := url.Parse(r.Address)
		if err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && (at.Scheme != "http" || !loopback(at.Hostname())) {
			return errors.New("endpoint is no https URL of a push service")
		}
		if !validKeys(r.P256DH, r.Auth) {
			return errors.New("keys.p256dh and keys.auth are not those of a push subscription")
		}
	case Webhook:
		if r.Provider == "" || len(r.Provider) > ProviderBytes {
			return fmt.Errorf("provider is empty or longer than %d bytes", ProviderBytes)
		}
	default:
		return errors.New("kind must be web_push or webhook")
	}
	return nil
}

// loopback reports whether a host is this one, for tests with a push service of
// their own. A sender that serves others refuses to call it.
func loopback(host string) bool {
	at, err := netip.ParseAddr(host)
	return err == nil && at.Unmap().IsLoopback()
}

// Silences reports whether the device does not want to hear of a conversation.
func (s *Settings) Silences(c chat.ConversationID) bool {
	return s.MuteAll || slices.Contains(s.Muted, c)
}
