package push

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	webpush "github.com/SherClockHolmes/webpush-go"

	"switchboard/internal/devices"
)

// keepFor is how long a push service keeps a notice for a device that is off.
const keepFor = 24 * time.Hour

// WebPush takes notices to browsers: RFC 8030, encrypted by RFC 8291, signed by RFC
// 8292.
type WebPush struct {
	// Fixed after construction.
	client          *http.Client
	subject         string
	private, public string
	insecure        bool
}

// NewWebPush returns a carrier that signs with a key of the curve P-256 in PEM.
// Subject is where the operator can be reached, as mailto: or https:. Private lets
// it go to addresses that are not public and without TLS: for tests.
func NewWebPush(key []byte, subject string, private bool) (*WebPush, error) {
	mail, isMail := strings.CutPrefix(subject, "mailto:")
	if !isMail && !strings.HasPrefix(subject, "https://") {
		return nil, errors.New("the subject must begin with mailto: or https://")
	}
	if isMail {
		subject = mail // The library puts it back.
	}
	signer, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	secret, err := signer.Bytes()
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	point, err := signer.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	return &WebPush{
		client: newClient(!private), subject: subject, insecure: private,
		private: base64.RawURLEncoding.EncodeToString(secret), public: base64.RawURLEncoding.EncodeToString(point),
	}, nil
}

// parseKey reads what openssl writes.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			any, pkcs8 := x509.ParsePKCS8PrivateKey(block.Bytes)
			if found, ok := any.(*ecdsa.PrivateKey); pkcs8 == nil && ok {
				key, err = found, nil
			}
		}
		if err == nil && key.Curve == elliptic.P256() {
			return key, nil
		}
	}
	return nil, errors.New("there is no private key of the curve P-256 in PEM")
}

// PublicKey is what browsers take as applicationServerKey.
func (w *WebPush) PublicKey() string { return w.public }

// Carry implements [Carrier].
func (w *WebPush) Carry(ctx context.Context, to *devices.Registration, n *Notice) (Verdict, time.Duration, error) {
	if !w.insecure && !strings.HasPrefix(to.Address, "https://") {
		return Refused, 0, errors.New("the endpoint is not https")
	}
	text, err := json.Marshal(n)
	if err != nil {
		return Refused, 0, fmt.Errorf("encode a notice: %w", err)
	}
	response, err := webpush.SendNotificationWithContext(ctx, text, &webpush.Subscription{
		Endpoint: to.Address, Keys: webpush.Keys{P256dh: to.P256DH, Auth: to.Auth},
	}, &webpush.Options{
		HTTPClient: w.client, Subscriber: w.subject, VAPIDPublicKey: w.public, VAPIDPrivateKey: w.private,
		TTL: int(keepFor.Seconds()), Topic: topic(n), Urgency: webpush.UrgencyHigh,
	})
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, AnswerBytes) // so that the connection can be used again
	return judge(response, http.StatusNotFound, http.StatusGone)
}

// topic lets a push service replace what it still keeps of the same conversation.
func topic(n *Notice) string {
	digest := sha256.Sum256(n.ConversationID[:])
	return base64.RawURLEncoding.EncodeToString(digest[:24]) // 32 characters, the most there may be
}
