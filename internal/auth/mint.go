package auth

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"switchboard/internal/chat"
)

// Generate writes a JWK set with one HS256 key to file, readable by its owner
// alone, unless the file exists. The file appears whole or not at all. It is
// for dev, which has no operator to give it keys.
func Generate(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := generated()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".keys-*") // mode 0600
	if err != nil {
		return fmt.Errorf("create key set: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write key set: %w", err)
	}
	// A link, unlike a rename, does not replace the set of somebody who was
	// faster.
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("put key set in its place: %w", err)
	}
	return nil
}

func generated() ([]byte, error) {
	var secret [SecretBytes]byte
	var id [8]byte
	rand.Read(secret[:]) // never fails: crypto/rand crashes the program instead
	rand.Read(id[:])
	set := jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{{
		KTY: jwkset.KtyOct, ALG: jwkset.AlgHS256, USE: jwkset.UseSig,
		KID: "dev-" + base64.RawURLEncoding.EncodeToString(id[:]),
		K:   base64.RawURLEncoding.EncodeToString(secret[:]),
	}}}
	text, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode key set: %w", err)
	}
	return append(text, '\n'), nil
}

// ErrNoSigner says that the set holds only public keys.
var ErrNoSigner = errors.New("no key in the set can sign")

// Mint returns a token for u that lives for ttl from now, signed with the first
// key of the set that can sign. Whole seconds count. It is for dev, benchmarks
// and tests; an operator's tokens come from the operator.
func (k *Keys) Mint(u chat.UserID, ttl time.Duration) (string, error) {
	now := k.now()
	claims := jwt.RegisteredClaims{
		Issuer: k.issuer, Subject: u.String(),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	}
	if k.audience != "" {
		claims.Audience = jwt.ClaimStrings{k.audience}
	}
	for _, signer := range k.set.Load().keys {
		if signer.sign == nil {
			continue
		}
		t := jwt.NewWithClaims(signer.method, claims)
		if signer.id != "" {
			t.Header["kid"] = signer.id
		}
		token, err := t.SignedString(signer.sign)
		if err != nil {
			return "", fmt.Errorf("sign token with key %q: %w", signer.id, err)
		}
		return token, nil
	}
	return "", ErrNoSigner
}
