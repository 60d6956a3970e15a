package search

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func texts(words []Word) (all []string) {
	for _, w := range words {
		all = append(all, w.Text)
	}
	return all
}

func TestTextIsCutIntoWordsAndFolded(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		" \t\x00…!":                  "",
		"Hello, World":               "hello world",
		"don't":                      "don t",
		"snake_case x2":              "snake case x2",
		"Ёж, ёлка И ЙОД":             "еж елка и йод",
		"наи\u0306ти":                "найти",
		"Ça va à l'Île":              "ca va a l ile",
		"Straße STRASSE ẞ":           "strasse strasse ss",
		"ΣΊΣΥΦΟΣ σίσυφος":            "σισυφοσ σισυφοσ",
		"İstanbul ısı":               "istanbul isi",
		"ﬁne ① ½":                    "fine 1 12",
		"東京tower2":                   "東 京 tower2",
		"ガーデン ｶﾞ":                    "ガ ー デ ン カ \u3099",
		"ภาษา":                       "ภ า ษ า",
		"नमस्ते":                     "नमस्ते",
		"한국어":                        "한국어",
		"👍🏽👨‍👩‍👧☀️":                  "👍 👨 👩 👧 ☀",
		"السَّلَامُ":                 "السلام",
		"\ufdfa":                     "صلىاللهعليهوسلم",
		strings.Repeat("ab", 100):    strings.Repeat("ab", 32),
		strings.Repeat("жи", 100):    strings.Repeat("жи", 32),
		"x\u0301\u0301\u0301y":       "xy",
		"\u0301alone":                "alone",
		"a\u200db":                   "a b",
		"ＦＵＬＬ　ｗｉｄｔｈ":                 "full width",
		"Łódź Øre æon cœur Ħal":      "lodz ore aeon coeur hal",
		"https://a.example/?q=Żółć1": "https a example q zolc1",
	} {
		if got := strings.Join(texts(Words(text)), " "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzWords holds what the index and the highlights rely on.
func FuzzWords(f *testing.F) {
	for _, text := range []string{"a b", "é\u0301", "東京 tower", "\ufdfa", "👍🏽", "\xff\xfe", "ガ", "½"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		end := 0
		for _, w := range Words(text) {
			if w.Start < end || w.End <= w.Start || w.End > len(text) {
				t.Fatalf("%q: the word %q is at %d to %d, after %d", text, w.Text, w.Start, w.End, end)
			}
			end = w.End
			if w.Text == "" || !utf8.ValidString(w.Text) || strings.ContainsAny(w.Text, " \"*():") {
				t.Fatalf("%q: has the word %q", text, w.Text)
			}
			again := strings.Join(texts(Words(w.Text)), "")
			if utf8.RuneCountInString(w.Text) < wordRunes && again != w.Text {
				t.Fatalf("%q: the word %q, read again, is %q", text, w.Text, again)
			}
		}
	})
}

func TestHighlightsCountAsUTF16(t *testing.T) {
	content := "🎉🎉 ёж\x00 и 東京"
	words := Words(content)
	matched := make([]bool, len(words))
	for i, w := range words {
		matched[i] = slices.Contains([]string{"еж", "東", "京"}, w.Text)
	}
	want := []Highlight{{5, 7, "ёж"}, {11, 13, "東京"}}
	if got := highlights(content, words, matched); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	many := strings.Repeat("x ", 2*HighlightsMax)
	words = Words(many)
	matched = slices.Repeat([]bool{true}, len(words))
	if got := len(highlights(many, words, matched)); got != HighlightsMax {
		t.Errorf("%d highlights, at most %d", got, HighlightsMax)
	}
}
