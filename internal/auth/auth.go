// Package auth answers one question: whose token is this? Identity is the
// operator's; there is no registration and no password here. A token is a JWT
// whose `sub` is the user, signed with a key of a JWK set (RFC 7517) that the
// operator keeps in a file.
//
//	operator ──JWK set──▶ Open, Reload (SIGHUP)
//	client ──token──▶ gateway, rest ──▶ Verify ──▶ Identity{User, Expires}
//
// A key is chosen by the token's `kid` and is good for exactly one algorithm,
// its own: oct HS256, OKP Ed25519 EdDSA, EC P-256 ES256, RSA RS256. A token
// that names another algorithm, or none, is refused before anything is
// computed, so a public key can never be mistaken for a shared secret.
//
// The package keeps no session, knows no revocation list and asks no server.
// It is the home of the JWT and JWK libraries.
package auth

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"switchboard/internal/chat"
)

// The limits of tokens.
const (
	// Leeway is how far the clocks of the issuer and of this host may be apart.
	Leeway = 60 * time.Second
	// TokenBytes bounds a token; a longer one is refused unread.
	TokenBytes = 8 << 10
	// lastSecond is the end of the year 9999. A token that claims to live
	// longer is refused, since such a number overflows somewhere.
	lastSecond = 253402300799
)

// Identity is whom a valid token speaks for, and until when.
type Identity struct {
	User chat.UserID
	// Expires is the token's `exp` in Unix seconds, without the leeway: it may
	// lie up to [Leeway] in the past.
	Expires int64
}

// Keys is the key set of a file and the rules for tokens. It is safe for
// concurrent use.
type Keys struct {
	// Fixed after Open.
	file, issuer, audience string
	parser                 *jwt.Parser
	validator              *jwt.Validator
	now                    func() time.Time

	// Replaced as a whole; reloading keeps two Reloads from overtaking
	// each other.
	set       atomic.Pointer[keySet]
	reloading sync.Mutex
}

// Open reads the JWK set in file. A non-empty issuer or audience must be in
// every token.
func Open(file, issuer, audience string) (*Keys, error) {
	k := &Keys{file: file, issuer: issuer, audience: audience, now: time.Now}
	k.parser = jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(), jwt.WithValidMethods(algorithms()))
	rules := []jwt.ParserOption{
		jwt.WithLeeway(Leeway), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithTimeFunc(func() time.Time { return k.now() }),
	}
	if issuer != "" {
		rules = append(rules, jwt.WithIssuer(issuer))
	}
	if audience != "" {
		rules = append(rules, jwt.WithAudience(audience))
	}
	k.validator = jwt.NewValidator(rules...)
	if err := k.Reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// Reload reads the file again. When it is missing or not a proper set, the old
// set stays in force and the error says what is wrong.
func (k *Keys) Reload() error {
	k.reloading.Lock()
	defer k.reloading.Unlock()
	set, err := load(k.file)
	if err != nil {
		return fmt.Errorf("read key set %s: %w", k.file, err)
	}
	k.set.Store(set)
	return nil
}

// Verify returns whom the token speaks for. The error is a *[chat.Error]:
// `token_expired` for a token that was good and is over, so that a client knows
// that a new one helps; `unauthorized` for anything else. It costs 5 to 140 µs
// of computing, so it does not belong on an event loop.
func (k *Keys) Verify(token string) (Identity, error) {
	if token == "" || len(token) > TokenBytes {
		return Identity{}, unauthorized("a token has 1 to 8192 bytes")
	}
	set := k.set.Load()
	var claims jwt.RegisteredClaims
	if _, err := k.parser.ParseWithClaims(token, &claims, set.find); err != nil {
		return Identity{}, unauthorized("the token is malformed, or not signed with a key of this system")
	}
	if e := claims.ExpiresAt; e != nil && (e.Unix() < 0 || e.Unix() > lastSecond) {
		return Identity{}, unauthorized("the token's exp is out of range")
	}
	if err := k.validator.Validate(&claims); err != nil {
		return Identity{}, refusal(err)
	}
	user, err := chat.ParseUserID(claims.Subject)
	if err != nil || user.IsZero() {
		return Identity{}, unauthorized("the token's sub is not a user's UUID")
	}
	return Identity{User: user, Expires: claims.ExpiresAt.Unix()}, nil
}

// refusal tells an expired token from one that was never good here. A token
// that is expired and wrong in another way is wrong.
func refusal(err error) *chat.Error {
	switch {
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return unauthorized("the token lacks a claim that is required: exp, or iss and aud where they are configured")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience):
		return unauthorized("the token is for somebody else: its iss or aud is not the configured one")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return unauthorized("the token is not valid yet")
	case errors.Is(err, jwt.ErrTokenExpired):
		return chat.Errorf(chat.TokenExpired, "the token has expired")
	}
	return unauthorized("the token's claims are not valid")
}

func unauthorized(why string) *chat.Error { return &chat.Error{Code: chat.Unauthorized, Message: why} }
