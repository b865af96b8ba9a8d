package minilm

import (
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":              "",
		" \t\r\n\u2003": "",
		"Hello, World!": "hello|,|world|!",
		"don't a+b":     "don|'|t|a|+|b",
		"ÅNGSTRÖM e\u0301clair İ ẞ ΟΔΟΣ":    "angstrom|eclair|i|ß|οδοσ",
		"東京タワーと 한글":                         "東|京|タワーと|" + "\u1112\u1161\u11ab\u1100\u1173\u11af", // kana are letters, Hangul falls apart
		"a\u200bb\u0000c\xffd\u00ade\ufffd": "abcde",
		"\U0002B820x\U0002A6DF":             "\U0002B820|x|\U0002A6DF",
		"€5 “so”":                           "€5|“|so|”", // no ASCII, and a symbol
	} {
		if got := strings.Join(words(text), "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestPieces(t *testing.T) {
	tokenizer, err := ReadTokenizer(strings.NewReader("[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\naffable\n##aff\n##able\n##a\n##\n東\n" + strings.Repeat("a", 50) + "\n##" + strings.Repeat("a", 50)))
	if err != nil {
		t.Fatal(err)
	}
	if got := tokenizer.Len(); got != 13 {
		t.Errorf("%d pieces, want 13", got)
	}
	for text, want := range map[string][]int{
		"":                       {2, 3},
		"Unaffable":              {2, 4, 6, 7, 3}, // the longest first
		"affable":                {2, 5, 3},
		"unaffabl":               {2, 1, 3}, // none of it, not its beginning
		"una 東un":                {2, 4, 8, 10, 4, 3},
		"##":                     {2, 1, 1, 3},
		"[CLS]":                  {2, 1, 1, 1, 3}, // text is no command
		strings.Repeat("a", 100): {2, 11, 12, 3},
		strings.Repeat("a", 101): {2, 1, 3},
	} {
		if got := tokenizer.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestBadVocabulary(t *testing.T) {
	for vocabulary, want := range map[string]string{
		"[UNK]\n[SEP]\n":           "no [CLS]",
		strings.Repeat("x", 1<<17): "too long",
	} {
		if _, err := ReadTokenizer(strings.NewReader(vocabulary)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", vocabulary, err, want)
		}
	}
}
