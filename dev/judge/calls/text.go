package calls

import (
	"regexp"
	"regexp/syntax"
	"strings"

	"switchboard/dev/judge"
)

// letters are what strings are made of: those of one byte, and those of more.
const (
	plain   = "abcdefghijklmnopqrstuvwxyz"
	foreign = "äßñяжλ你好語안😀👋"
)

// texts are the limits of strings.
func (m *maker) texts(schema Object) []named {
	if pattern := text(schema["pattern"]); pattern != "" {
		return []named{{"by its pattern", m.matching(pattern)}, {"by its pattern, in upper case", m.upper(pattern)}}
	}
	least := int(limit(schema, "minLength", 0))
	most := int(limit(schema, "maxLength", textMax))
	bytes := int(limit(schema, judge.BytesKeyword, int64(most)*4))
	if schema["maxLength"] == nil && schema[judge.BytesKeyword] != nil {
		most = bytes
	}
	return []named{
		{"the shortest", m.word(plain, least)},
		{"the longest", m.word(plain, min(most, bytes))},
		{"the longest of other letters", m.filled(most, bytes)},
		{"short, of other letters", m.word(foreign, max(least, min(3, most, bytes/4)))},
	}
}

// word is n letters.
func (m *maker) word(of string, n int) string {
	letters := []rune(of)
	var b strings.Builder
	for range n {
		b.WriteRune(letters[m.dice.IntN(len(letters))])
	}
	return b.String()
}

// filled is a string of as many letters of several bytes as fit both limits, filled up
// with others.
func (m *maker) filled(characters, bytes int) string {
	n := min(characters, bytes/4)
	s := m.word(foreign, n)
	return s + m.word(plain, min(characters-n, bytes-len(s)))
}

// matching makes a string that matches a regular expression.
func (m *maker) matching(pattern string) string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return ""
	}
	var b strings.Builder
	m.write(&b, parsed)
	return b.String()
}

// upper is matching in upper case, where that matches too.
func (m *maker) upper(pattern string) string {
	s := m.matching(pattern)
	if up := strings.ToUpper(s); matches(pattern, up) {
		return up
	}
	return s
}

func (m *maker) write(b *strings.Builder, r *syntax.Regexp) {
	times := func(low, high int) {
		for range low + m.dice.IntN(high-low+1) {
			m.write(b, r.Sub[0])
		}
	}
	switch r.Op {
	case syntax.OpLiteral:
		b.WriteString(string(r.Rune))
	case syntax.OpCharClass:
		i := 2 * m.dice.IntN(len(r.Rune)/2)
		b.WriteRune(r.Rune[i] + m.dice.Int32N(min(r.Rune[i+1]-r.Rune[i], 25)+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range r.Sub {
			m.write(b, sub)
		}
	case syntax.OpAlternate:
		m.write(b, r.Sub[m.dice.IntN(len(r.Sub))])
	case syntax.OpStar:
		times(0, 3)
	case syntax.OpPlus:
		times(1, 3)
	case syntax.OpQuest:
		times(0, 1)
	case syntax.OpRepeat:
		high := r.Max
		if high < 0 {
			high = r.Min + 3
		}
		times(r.Min, high)
	default: // Places, which take no room.
	}
}

func matches(pattern, s string) bool {
	expression, err := regexp.Compile(pattern)
	return err == nil && expression.MatchString(s)
}
