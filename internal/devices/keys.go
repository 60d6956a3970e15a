package devices

import (
	"crypto/ecdh"
	"encoding/base64"
	"strings"
)

// The lengths of RFC 8291.
const secretBytes = 16

// validKeys reports whether the keys of a subscription can be used: a point on the
// curve P-256 and a secret, in base64 of either alphabet.
func validKeys(p256dh, auth string) bool {
	point, err := decode(p256dh)
	if err != nil {
		return false
	}
	if _, err := ecdh.P256().NewPublicKey(point); err != nil {
		return false
	}
	secret, err := decode(auth)
	return err == nil && len(secret) == secretBytes
}

func decode(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return base64.RawURLEncoding.DecodeString(text)
}
