package push

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// secretMin is how many bytes the secret of a webhook has at least.
const secretMin = 24

// Hook takes notices to the operator's sender, which takes them to devices that are
// reached by a token. Requests are signed as Standard Webhooks are:
//
//	Webhook-Id         the same for each try: do it once
//	Webhook-Timestamp  Unix seconds of the try
//	Webhook-Signature  v1,base64(HMAC-SHA256(secret, id "." timestamp "." body))
//
// It answers with 2xx when it has it, with 410 when the token is no good any more,
// with 429 or 5xx when it should be asked again.
type Hook struct {
	// Fixed after construction.
	client *http.Client
	url    string
	secret []byte
}

// NewHook returns a carrier to a URL of the operator's, who may have it inside:
// its address need not be public.
func NewHook(at string, secret []byte) (*Hook, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("the webhook is no URL of http or https")
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) < secretMin {
		return nil, fmt.Errorf("the secret has less than %d bytes", secretMin)
	}
	return &Hook{client: newClient(false), url: at, secret: secret}, nil
}

// call is the body of a request.
type call struct {
	UserID       chat.UserID `json:"user_id"`
	DeviceID     string      `json:"device_id"`
	Provider     string      `json:"provider"`
	Token        string      `json:"token"`
	Notification *Notice     `json:"notification"`
}

// Carry implements [Carrier].
func (h *Hook) Carry(ctx context.Context, to *devices.Registration, n *Notice) (Verdict, time.Duration, error) {
	body, err := json.Marshal(call{UserID: to.User, DeviceID: to.Device, Provider: to.Provider, Token: to.Address, Notification: n})
	if err != nil {
		return Refused, 0, fmt.Errorf("encode a call: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return Refused, 0, err
	}
	id, stamp := callID(to, n), strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", stamp)
	request.Header.Set("Webhook-Signature", h.sign(id, stamp, body))
	response, err := h.client.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, AnswerBytes) // so that the connection can be used again
	return judge(response, http.StatusGone)
}

func (h *Hook) sign(id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, h.secret)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// callID names what is said to a device, whoever says it and however often.
func callID(to *devices.Registration, n *Notice) string {
	digest := sha256.New()
	digest.Write(to.User[:])
	digest.Write(n.MessageID[:])
	digest.Write(n.ConversationID[:])
	digest.Write([]byte(to.Device + "\x00" + to.Address))
	return "msg_" + base64.RawURLEncoding.EncodeToString(digest.Sum(nil)[:24])
}
