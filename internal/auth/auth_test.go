package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"switchboard/internal/chat"
)

var (
	alice = chat.DemoUser("alice")
	noon  = time.Unix(1_790_000_000, 0)
)

// private makes one key of each kind; RSA keys are slow to make, so once.
var private = sync.OnceValue(func() map[string]any {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, ModulusBits)
	if err != nil {
		panic(err)
	}
	return map[string]any{"HS256": []byte(strings.Repeat("s", SecretBytes)), "EdDSA": ed, "ES256": ec, "RS256": rs}
})

// jwk returns the JWK of a key under its name, with its private half if secret.
func jwk(t testing.TB, name string, k any, secret bool) jwkset.JWKMarshal {
	t.Helper()
	j, err := jwkset.NewJWKFromKey(k, jwkset.JWKOptions{
		Marshal:  jwkset.JWKMarshalOptions{Private: secret || name == "HS256"},
		Metadata: jwkset.JWKMetadataOptions{KID: name, ALG: jwkset.ALG(name)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return j.Marshal()
}

func write(t testing.TB, file string, keys ...jwkset.JWKMarshal) {
	t.Helper()
	text, err := json.Marshal(jwkset.JWKSMarshal{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// open opens a set of the keys at noon.
func open(t testing.TB, keys ...jwkset.JWKMarshal) *Keys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, keys...)
	k, err := Open(file, "", "")
	if err != nil {
		t.Fatal(err)
	}
	k.now = func() time.Time { return noon }
	return k
}

// all opens a set of one key of each kind, their public halves if they have
// any.
func all(t testing.TB) *Keys {
	t.Helper()
	var keys []jwkset.JWKMarshal
	for _, name := range slices.Sorted(maps.Keys(private())) {
		keys = append(keys, jwk(t, name, private()[name], false))
	}
	return open(t, keys...)
}

func token(t testing.TB, method, kid string, sign any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.GetSigningMethod(method), claims)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	s, err := tok.SignedString(sign)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func good() jwt.MapClaims {
	return jwt.MapClaims{"sub": alice.String(), "exp": noon.Unix() + 3600}
}

func code(err error) chat.Code {
	if err == nil {
		return ""
	}
	var e *chat.Error
	if !errors.As(err, &e) {
		return "not a chat.Error"
	}
	return e.Code
}

func TestEachAlgorithmVerifiesItsOwnTokens(t *testing.T) {
	keys := all(t)
	for name, k := range private() {
		got, err := keys.Verify(token(t, name, name, k, good()))
		want := Identity{User: alice, Expires: noon.Unix() + 3600}
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
		}
	}
}

// The classic attack: sign with HS256, the public key of another kind being the
// secret, and name that key.
func TestATokenCannotChooseHowItIsChecked(t *testing.T) {
	keys := all(t)
	public, err := x509.MarshalPKIXPublicKey(&private()["RS256"].(*rsa.PrivateKey).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]string{
		"HS256 with the RSA public key as the secret": token(t, "HS256", "RS256", public, good()),
		"HS256 with the Ed25519 key as the secret":    token(t, "HS256", "EdDSA", []byte(private()["EdDSA"].(ed25519.PrivateKey).Public().(ed25519.PublicKey)), good()),
		"the right secret under another key's name":   token(t, "HS256", "ES256", private()["HS256"], good()),
		"none":                                 token(t, "none", "HS256", jwt.UnsafeAllowNoneSignatureType, good()),
		"none without a name":                  token(t, "none", "", jwt.UnsafeAllowNoneSignatureType, good()),
		"HS512 with the right secret":          token(t, "HS512", "HS256", private()["HS256"], good()),
		"PS256 with the right key":             token(t, "PS256", "RS256", private()["RS256"], good()),
		"another secret":                       token(t, "HS256", "HS256", []byte(strings.Repeat("x", 32)), good()),
		"no name where there are several":      token(t, "HS256", "", private()["HS256"], good()),
		"a name that is not in the set":        token(t, "HS256", "other", private()["HS256"], good()),
		"an extension that must be understood": critical(t),
	} {
		if _, err := keys.Verify(forged); code(err) != chat.Unauthorized {
			t.Errorf("%s: got %v, want unauthorized", name, err)
		}
	}
}

func critical(t testing.TB) string {
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, good())
	tok.Header["kid"], tok.Header["crit"] = "HS256", []string{"exp"}
	s, err := tok.SignedString(private()["HS256"])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClaims(t *testing.T) {
	keys := all(t)
	at := noon.Unix()
	for name, c := range map[string]struct {
		change jwt.MapClaims
		want   chat.Code
	}{
		"expired, last second of leeway":  {jwt.MapClaims{"exp": at - 59}, ""},
		"expired, leeway just over":       {jwt.MapClaims{"exp": at - 60}, chat.TokenExpired},
		"expired long ago":                {jwt.MapClaims{"exp": 1}, chat.TokenExpired},
		"no exp":                          {jwt.MapClaims{"exp": nil}, chat.Unauthorized},
		"exp of text":                     {jwt.MapClaims{"exp": "tomorrow"}, chat.Unauthorized},
		"exp that overflows":              {jwt.MapClaims{"exp": 1e300}, chat.Unauthorized},
		"exp after the year 9999":         {jwt.MapClaims{"exp": lastSecond + 1}, chat.Unauthorized},
		"nbf at the end of the leeway":    {jwt.MapClaims{"nbf": at + 60}, ""},
		"nbf beyond the leeway":           {jwt.MapClaims{"nbf": at + 61}, chat.Unauthorized},
		"iat at the end of the leeway":    {jwt.MapClaims{"iat": at + 60}, ""},
		"iat beyond the leeway":           {jwt.MapClaims{"iat": at + 61}, chat.Unauthorized},
		"expired and not yet valid":       {jwt.MapClaims{"exp": 1, "nbf": at + 61}, chat.Unauthorized},
		"sub in upper case":               {jwt.MapClaims{"sub": strings.ToUpper(alice.String())}, ""},
		"no sub":                          {jwt.MapClaims{"sub": nil}, chat.Unauthorized},
		"sub that is a name":              {jwt.MapClaims{"sub": "alice"}, chat.Unauthorized},
		"sub of zeros":                    {jwt.MapClaims{"sub": chat.UserID{}.String()}, chat.Unauthorized},
		"an issuer where none is asked":   {jwt.MapClaims{"iss": "anybody"}, ""},
		"an audience where none is asked": {jwt.MapClaims{"aud": "anybody"}, ""},
	} {
		claims := good()
		for k, v := range c.change {
			if claims[k] = v; v == nil {
				delete(claims, k)
			}
		}
		_, err := keys.Verify(token(t, "HS256", "HS256", private()["HS256"], claims))
		if code(err) != c.want {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAForgedExpiredTokenIsUnauthorized(t *testing.T) {
	keys := all(t)
	claims := good()
	claims["exp"] = 1
	_, err := keys.Verify(token(t, "HS256", "HS256", []byte(strings.Repeat("x", 32)), claims))
	if code(err) != chat.Unauthorized {
		t.Errorf("got %v, want unauthorized: who has no key learns nothing of claims", err)
	}
}

func TestIssuerAndAudience(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, jwk(t, "HS256", private()["HS256"], true))
	keys, err := Open(file, "https://id.example", "switchboard")
	if err != nil {
		t.Fatal(err)
	}
	keys.now = func() time.Time { return noon }
	for name, c := range map[string]struct {
		iss, aud any
		want     chat.Code
	}{
		"both right":              {"https://id.example", "switchboard", ""},
		"audience among several":  {"https://id.example", []string{"mail", "switchboard"}, ""},
		"another issuer":          {"https://id.example.evil", "switchboard", chat.Unauthorized},
		"another audience":        {"https://id.example", "mail", chat.Unauthorized},
		"neither":                 {nil, nil, chat.Unauthorized},
		"issuer without audience": {"https://id.example", nil, chat.Unauthorized},
	} {
		claims := good()
		if c.iss != nil {
			claims["iss"] = c.iss
		}
		if c.aud != nil {
			claims["aud"] = c.aud
		}
		if _, err := keys.Verify(token(t, "HS256", "HS256", private()["HS256"], claims)); code(err) != c.want {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	minted, err := keys.Mint(alice, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keys.Verify(minted); err != nil || got != (Identity{alice, noon.Unix() + 60}) {
		t.Errorf("minted: got %v, %v", got, err)
	}
}

func TestGarbageIsUnauthorized(t *testing.T) {
	keys := all(t)
	real := token(t, "HS256", "HS256", private()["HS256"], good())
	for _, s := range []string{
		"", ".", "..", "a.b.c", "....", real[:len(real)-1], real + "A", real + "=", " " + real, real + ".", strings.Replace(real, ".", "..", 1),
		strings.Repeat("a", TokenBytes+1), base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":7}`)) + real[strings.IndexByte(real, '.'):],
	} {
		if _, err := keys.Verify(s); code(err) != chat.Unauthorized {
			t.Errorf("%.40q: got %v, want unauthorized", s, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	keys := all(f)
	real := token(f, "HS256", "HS256", private()["HS256"], good())
	f.Add(real)
	f.Add(token(f, "none", "", jwt.UnsafeAllowNoneSignatureType, good()))
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := keys.Verify(s)
		if err == nil && got.User != alice {
			t.Errorf("%q speaks for %v", s, got)
		}
		if err != nil && code(err) != chat.Unauthorized && code(err) != chat.TokenExpired {
			t.Errorf("%q: got %v", s, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	keys := all(b)
	for _, name := range slices.Sorted(maps.Keys(private())) {
		tok := token(b, name, name, private()[name], good())
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keys.Verify(tok); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
