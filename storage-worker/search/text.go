package search

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// wordRunes bounds a word of the index; what is longer counts by its beginning.
const wordRunes = 64

// Word is one word of a text, as it is compared.
type Word struct {
	Text       string // folded: see [Words]
	Start, End int    // bytes of the text that it was made of
}

// Words cuts a text into words and folds them, so that what people take for the
// same word is the same: case and accents do not count, nor does the difference
// of ё and е, ß and ss, full and half width. й stays a letter of its own, and so
// do vowel signs of Indic scripts and the dots of Japanese ones.
//
// A script that puts no spaces between words gives one word for each character: a
// query in it is a phrase then. So does a symbol such as an emoji.
func Words(text string) []Word {
	var words []Word
	start, open := 0, false // of the word that is being read
	shut := func(end int) {
		if open {
			open = false
			if folded := fold(text[start:end]); folded != "" {
				words = append(words, Word{folded, start, end})
			}
		}
	}
	for at, r := range text {
		switch classOf(r) {
		case apart:
			shut(at)
		case alone:
			shut(at)
			start, open = at, true
		case sticks:
			// Belongs to what it follows; by itself it is nothing.
		case spells:
			if open && classOf(firstRune(text[start:])) == alone {
				shut(at)
			}
			if !open {
				start, open = at, true
			}
		}
	}
	shut(len(text))
	return words
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// class is what a character does to the word that it stands in.
type class uint8

const (
	apart  class = iota // ends it
	spells              // is a part of it
	sticks              // is a part of it, if there is one
	alone               // is one
)

// unspaced are the scripts that put no spaces between words.
var unspaced = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// longVowel is the Japanese sign for one, which belongs to two scripts.
const longVowel = 'ー'

func classOf(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		if 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' {
			return spells
		}
		return apart
	case unicode.Is(unicode.Mark, r) || unicode.Is(skins, r):
		return sticks
	case r == longVowel || unicode.IsOneOf(unspaced, r):
		return alone
	case unicode.IsLetter(r) || unicode.IsNumber(r):
		return spells
	case unicode.Is(unicode.So, r):
		return alone
	}
	return apart
}

// accents are the marks that do not count.
var accents = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x0300, Hi: 0x036f, Stride: 1}, // of Latin, Greek and Cyrillic
	{Lo: 0x0591, Hi: 0x05bd, Stride: 1},
	{Lo: 0x05bf, Hi: 0x05bf, Stride: 1}, // points of Hebrew
	{Lo: 0x05c1, Hi: 0x05c2, Stride: 1},
	{Lo: 0x05c4, Hi: 0x05c5, Stride: 1},
	{Lo: 0x05c7, Hi: 0x05c7, Stride: 1},
	{Lo: 0x064b, Hi: 0x065f, Stride: 1},
	{Lo: 0x0670, Hi: 0x0670, Stride: 1}, // vowels of Arabic
	{Lo: 0x1ab0, Hi: 0x1aff, Stride: 1},
	{Lo: 0x1dc0, Hi: 0x1dff, Stride: 1}, // more of the first
	{Lo: 0x20d0, Hi: 0x20ff, Stride: 1}, // of symbols
	{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1},
	{Lo: 0xfe20, Hi: 0xfe2f, Stride: 1}, // how a symbol is drawn, halves
}}

// skins are the colours that an emoji may be followed by; they do not count either.
var skins = &unicode.RangeTable{R32: []unicode.Range32{{Lo: 0x1f3fb, Hi: 0x1f3ff, Stride: 1}}}

// plain spells letters whose strokes Unicode does not take for accents.
var plain = strings.NewReplacer("ß", "ss", "ς", "σ", "ı", "i", "ł", "l", "ø", "o", "đ", "d", "ħ", "h", "æ", "ae", "œ", "oe")

// fold returns a word as it is compared. It is "" when nothing is left of it.
func fold(word string) string {
	if ascii(word) {
		return strings.ToLower(word[:min(len(word), wordRunes)])
	}
	folded := make([]rune, 0, len(word))
	for _, r := range norm.NFKD.String(word) {
		r = unicode.ToLower(r)
		short := r == '\u0306' && len(folded) > 0 && folded[len(folded)-1] == 'и' // й
		if unicode.In(r, accents, skins) && !short {
			continue
		}
		if c := classOf(r); c == apart {
			continue // A letter that stands for a whole saying has spaces in it.
		}
		folded = append(folded, r)
	}
	spelled := []rune(norm.NFC.String(plain.Replace(string(folded))))
	return string(slices.Clip(spelled[:min(len(spelled), wordRunes)]))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
