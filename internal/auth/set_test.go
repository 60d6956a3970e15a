package auth

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"

	"switchboard/internal/chat"
)

func TestASingleKeyNeedsNoName(t *testing.T) {
	m := jwk(t, "EdDSA", private()["EdDSA"], false)
	named := open(t, m)
	m.KID = ""
	nameless := open(t, m)
	with := token(t, "EdDSA", "EdDSA", private()["EdDSA"], good())
	without := token(t, "EdDSA", "", private()["EdDSA"], good())
	other := token(t, "EdDSA", "other", private()["EdDSA"], good())
	for name, c := range map[string]struct {
		keys  *Keys
		token string
		want  chat.Code
	}{
		"named key, named token":       {named, with, ""},
		"named key, nameless token":    {named, without, ""},
		"named key, another name":      {named, other, chat.Unauthorized},
		"nameless key, named token":    {nameless, with, ""},
		"nameless key, nameless token": {nameless, without, ""},
	} {
		if _, err := c.keys.Verify(c.token); code(err) != c.want {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestBadSetsAreRefused(t *testing.T) {
	hs, ed := jwk(t, "HS256", private()["HS256"], true), jwk(t, "EdDSA", private()["EdDSA"], true)
	short := hs
	short.K = short.K[:42] // 31 bytes
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	halves := ed
	halves.D = jwk(t, "EdDSA", stranger, true).D
	nameless := ed
	nameless.KID = ""
	for name, c := range map[string]struct {
		keys []jwkset.JWKMarshal
		want string
	}{
		"empty":                {nil, "no usable key among 0"},
		"short secret":         {[]jwkset.JWKMarshal{short, ed}, "31 bytes"},
		"one name twice":       {[]jwkset.JWKMarshal{hs, hs}, "two keys"},
		"a nameless among two": {[]jwkset.JWKMarshal{hs, nameless}, "no kid"},
		"halves of two keys":   {[]jwkset.JWKMarshal{halves}, "do not belong together"},
		"weak modulus":         {[]jwkset.JWKMarshal{weakRSA(t)}, "1024 bits"},
		"a curve of no use":    {[]jwkset.JWKMarshal{p384(t)}, `curve "P-384" is not used here`},
		"x not on the curve":   {[]jwkset.JWKMarshal{{KTY: "EC", CRV: "P-256", X: "AQ", Y: "AQ"}}, "key 0"},
	} {
		file := filepath.Join(t.TempDir(), "keys.json")
		write(t, file, c.keys...)
		if _, err := Open(file, "", ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error about %q", name, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"no JSON": "-----BEGIN PUBLIC KEY-----", "an array": "[]", "nothing": "",
		"too long": `{"keys":[` + strings.Repeat(" ", SetBytes) + `]}`,
	} {
		if _, err := parse([]byte(text)); err == nil && len(text) <= SetBytes {
			t.Errorf("%s: accepted", name)
		}
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(file, "", ""); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), "", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
}

func weakRSA(t testing.TB) jwkset.JWKMarshal {
	t.Helper()
	m := jwk(t, "RS256", private()["RS256"], false)
	m.N = m.N[:1024/6+1] // 1,026 bits of the modulus, top bit set or not
	m.N = "_" + m.N[1:170] + "A"
	return m
}

func p384(t testing.TB) jwkset.JWKMarshal {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jwk(t, "ES384", k, false)
}

// An identity provider's set holds keys for encryption and of later kinds.
func TestOtherPeoplesKeysArePassedOver(t *testing.T) {
	hs := jwk(t, "HS256", private()["HS256"], true)
	enc := jwk(t, "RS256", private()["RS256"], false)
	enc.USE = jwkset.UseEnc
	wrap := jwk(t, "ES256", private()["ES256"], false)
	wrap.KEYOPS = []jwkset.KEYOPS{jwkset.KeyOpsWrapKey}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agree, err := jwkset.NewJWKFromKey(x.PublicKey(), jwkset.JWKOptions{})
	if err != nil {
		t.Fatal(err)
	}
	keys := open(t, enc, wrap, agree.Marshal(), p384(t), jwkset.JWKMarshal{KTY: "AKP", KID: "later"}, hs)
	if _, err := keys.Verify(token(t, "HS256", "HS256", private()["HS256"], good())); err != nil {
		t.Error(err)
	}
	if _, err := keys.Verify(token(t, "RS256", "RS256", private()["RS256"], good())); code(err) != chat.Unauthorized {
		t.Errorf("an encryption key verified a token: %v", err)
	}
}

func TestReload(t *testing.T) {
	hs := jwk(t, "HS256", private()["HS256"], true)
	keys := open(t, hs)
	old := token(t, "HS256", "HS256", private()["HS256"], good())
	young := token(t, "EdDSA", "EdDSA", private()["EdDSA"], good())

	if err := os.WriteFile(keys.file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keys.Reload(); err == nil {
		t.Error("a broken file was taken")
	}
	if _, err := keys.Verify(old); err != nil {
		t.Errorf("after a broken file the old set is gone: %v", err)
	}

	write(t, keys.file, jwk(t, "EdDSA", private()["EdDSA"], false))
	if err := keys.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Verify(young); err != nil {
		t.Errorf("the new key is not in force: %v", err)
	}
	if _, err := keys.Verify(old); code(err) != chat.Unauthorized {
		t.Errorf("the old key is still in force: %v", err)
	}
}

func TestGenerateMakesASetOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys.json")
	if err := Generate(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := Generate(file); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(file); string(first) != string(second) {
		t.Error("the second call replaced the set")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	keys, err := Open(file, "", "")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := keys.Mint(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keys.Verify(tok); err != nil || got.User != alice {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestEachPrivateKeyMints(t *testing.T) {
	for name, k := range private() {
		keys := open(t, jwk(t, name, k, true))
		tok, err := keys.Mint(alice, time.Minute)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := keys.Verify(tok); err != nil || got != (Identity{alice, noon.Unix() + 60}) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := open(t, jwk(t, "EdDSA", private()["EdDSA"], false)).Mint(alice, time.Minute); !errors.Is(err, ErrNoSigner) {
		t.Errorf("public key: got %v, want ErrNoSigner", err)
	}
}
