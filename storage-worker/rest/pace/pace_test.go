package pace

import "testing"

func TestPacesAsFlags(t *testing.T) {
	for text, want := range map[string]Pace{"0": {}, "50/200": {50, 200}, "1/1": {1, 1}, "1000000/1000000": {1_000_000, 1_000_000}} {
		got := Pace{3, 4}
		if err := got.Set(text); err != nil || got != want || got.String() != text {
			t.Errorf("%q: got %v as %q, %v", text, got, got.String(), err)
		}
	}
	for _, text := range []string{"", "50", "50/", "/200", "0/5", "5/0", "-1/5", "1/2/3", "1000001/1", "1 / 2", "x/y"} {
		got := Pace{3, 4}
		if err := got.Set(text); err == nil || got != (Pace{3, 4}) {
			t.Errorf("%q: got %v, %v; want a refusal", text, got, err)
		}
	}
}
