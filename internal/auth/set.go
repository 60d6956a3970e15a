package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// The limits of key sets.
const (
	// SetBytes bounds the file of a key set.
	SetBytes = 1 << 20
	// SecretBytes is the least length of an HS256 secret: a shorter one can be
	// guessed from a single token (RFC 7518 §3.2).
	SecretBytes = 32
	// ModulusBits is the least length of an RSA modulus (RFC 7518 §3.3).
	ModulusBits = 2048
)

// key is one key of the set, for one algorithm.
type key struct {
	id     string
	method jwt.SigningMethod
	verify any
	sign   any // nil when the set holds only the public half
}

// keySet is what a file says. It never changes.
type keySet struct {
	keys []key
	byID map[string]*key
}

func algorithms() []string {
	return []string{
		jwt.SigningMethodHS256.Alg(), jwt.SigningMethodEdDSA.Alg(),
		jwt.SigningMethodES256.Alg(), jwt.SigningMethodRS256.Alg(),
	}
}

// find is the jwt.Keyfunc of the set: the key that the header names, if it is a
// key for the algorithm that the header names.
func (s *keySet) find(t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical {
		return nil, errors.New("the header has critical extensions, none of which is known here")
	}
	k, err := s.named(t.Header["kid"])
	if err != nil {
		return nil, err
	}
	if t.Method.Alg() != k.method.Alg() {
		return nil, fmt.Errorf("key %q is for %s alone", k.id, k.method.Alg())
	}
	return k.verify, nil
}

// named returns the key of that id. A set of one key need not name it, and a
// token need not name the only key there is.
func (s *keySet) named(id any) (*key, error) {
	if id == nil || len(s.keys) == 1 && s.keys[0].id == "" {
		if len(s.keys) == 1 {
			return &s.keys[0], nil
		}
		return nil, errors.New("the header names no key, and there are several")
	}
	name, _ := id.(string)
	if k, ok := s.byID[name]; ok {
		return k, nil
	}
	return nil, errors.New("the header names a key that is not in the set")
}

// load reads a JWK set. As RFC 7517 §5 asks, keys for other purposes and of
// other kinds are passed over; a key of a known kind that is broken or too weak
// spoils the set, since an operator who wrote it wants to know.
func load(file string) (*keySet, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, SetBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > SetBytes {
		return nil, fmt.Errorf("longer than %d bytes", SetBytes)
	}
	return parse(text)
}

func parse(text []byte) (*keySet, error) {
	var file struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("not a JWK set: %w", err)
	}
	set := &keySet{byID: make(map[string]*key)}
	var passed []string
	for i, m := range file.Keys {
		if why := otherPurpose(m); why != "" {
			passed = append(passed, fmt.Sprintf("key %d (%q): %s", i, m.KID, why))
			continue
		}
		k, err := readKey(m)
		if err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i, m.KID, err)
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("no usable key among %d; %s", len(file.Keys), strings.Join(append(passed, "HS256, EdDSA, ES256 and RS256 are usable"), "; "))
	}
	return set, set.index()
}

// index fills byID; every key of several must have a name of its own.
func (s *keySet) index() error {
	for i := range s.keys {
		k := &s.keys[i]
		if k.id == "" && len(s.keys) > 1 {
			return errors.New("a key has no kid, and it is not the only one")
		}
		if _, twice := s.byID[k.id]; twice {
			return fmt.Errorf("two keys have the kid %q", k.id)
		}
		s.byID[k.id] = k
	}
	return nil
}

// otherPurpose says why a key is none of ours, or nothing.
func otherPurpose(m jwkset.JWKMarshal) string {
	var curve jwkset.CRV
	var algs []jwkset.ALG
	switch m.KTY {
	case jwkset.KtyOct:
		algs = []jwkset.ALG{jwkset.AlgHS256}
	case jwkset.KtyOKP:
		curve, algs = jwkset.CrvEd25519, []jwkset.ALG{jwkset.AlgEdDSA, "Ed25519"}
	case jwkset.KtyEC:
		curve, algs = jwkset.CrvP256, []jwkset.ALG{jwkset.AlgES256}
	case jwkset.KtyRSA:
		algs = []jwkset.ALG{jwkset.AlgRS256}
	default:
		return fmt.Sprintf("key type %q is not known here", m.KTY)
	}
	switch {
	case m.CRV != curve && m.CRV != "":
		return fmt.Sprintf("curve %q is not used here", m.CRV)
	case m.ALG != "" && !slices.Contains(algs, m.ALG):
		return fmt.Sprintf("algorithm %q is not used here", m.ALG)
	case m.USE != "" && m.USE != jwkset.UseSig:
		return fmt.Sprintf("its use is %q", m.USE)
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) && !slices.Contains(m.KEYOPS, jwkset.KeyOpsSign):
		return "its key_ops neither sign nor verify"
	}
	return ""
}

// readKey translates a key of a known kind. Certificates beside it (x5c, x5u)
// are not looked at: the operator vouches for the file.
func readKey(m jwkset.JWKMarshal) (key, error) {
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, err
	}
	k := key{id: m.KID}
	if secret, ok := parsed.Key().([]byte); ok {
		if len(secret) < SecretBytes {
			return key{}, fmt.Errorf("the secret has %d bytes; HS256 needs %d", len(secret), SecretBytes)
		}
		k.method, k.verify, k.sign = jwt.SigningMethodHS256, secret, secret
		return k, nil
	}
	k.verify = parsed.Key()
	if signer, ok := k.verify.(crypto.Signer); ok {
		k.verify, k.sign = signer.Public(), signer
	}
	k.method, err = methodOf(k.verify)
	if err == nil && k.sign != nil {
		err = halvesFit(k)
	}
	return k, err
}

// methodOf returns the one algorithm of a public key.
func methodOf(public any) (jwt.SigningMethod, error) {
	switch p := public.(type) {
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA, nil
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P256() {
			return jwt.SigningMethodES256, nil
		}
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < ModulusBits {
			return nil, fmt.Errorf("the modulus has %d bits; RS256 needs %d", bits, ModulusBits)
		}
		return jwt.SigningMethodRS256, nil
	}
	return nil, fmt.Errorf("a %T is not used here", public)
}

// halvesFit refuses a private key beside a public key of another: what it signs
// would never be accepted.
func halvesFit(k key) error {
	signature, err := k.method.Sign("halves", k.sign)
	if err != nil {
		return fmt.Errorf("sign with the private key: %w", err)
	}
	if err := k.method.Verify("halves", signature, k.verify); err != nil {
		return errors.New("the private and the public half do not belong together")
	}
	return nil
}
