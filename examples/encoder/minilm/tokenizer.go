package minilm

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A Tokenizer cuts text into the word pieces of a vocabulary, as uncased BERT models do (Devlin et al., BERT, 2018):
// words are lower case without accents, punctuation and CJK characters stand alone, and a word is the longest piece
// that begins it, then the longest that goes on, and so forth.
type Tokenizer struct {
	first, next   map[string]int // pieces that begin a word, and those that go on, without their "##"
	longest       int            // bytes of the longest piece
	pieces        []string       // by id
	cls, sep, unk int
}

// longestWord is how many characters a word may have: longer ones are unknown.
const longestWord = 100

// ReadTokenizer reads a vocabulary: a piece a line, whose number is its id.
func ReadTokenizer(r io.Reader) (*Tokenizer, error) {
	t := &Tokenizer{first: map[string]int{}, next: map[string]int{}}
	lines := bufio.NewScanner(r)
	for id := 0; lines.Scan(); id++ {
		piece, goesOn := strings.CutPrefix(lines.Text(), "##")
		if goesOn && piece != "" {
			t.next[piece] = id
		} else {
			t.first[lines.Text()] = id
		}
		t.longest = max(t.longest, len(piece))
		t.pieces = append(t.pieces, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	for name, id := range map[string]*int{"[CLS]": &t.cls, "[SEP]": &t.sep, "[UNK]": &t.unk} {
		var ok bool
		if *id, ok = t.first[name]; !ok {
			return nil, fmt.Errorf("vocabulary: no %s", name)
		}
		delete(t.first, name) // no text becomes one of these
	}
	return t, nil
}

// Encode returns the ids of [CLS], the pieces of text, and [SEP].
func (t *Tokenizer) Encode(text string) []int {
	ids := []int{t.cls}
	for _, word := range words(text) {
		ids = t.appendWord(ids, word)
	}
	return append(ids, t.sep)
}

// appendWord appends the ids of a word's pieces: [UNK] alone if a part of it is none.
func (t *Tokenizer) appendWord(ids []int, word string) []int {
	known := len(ids)
	if utf8.RuneCountInString(word) > longestWord {
		return append(ids, t.unk)
	}
	for pieces := t.first; word != ""; pieces = t.next {
		end := min(len(word), t.longest)
		for end > 0 {
			if id, ok := pieces[word[:end]]; ok {
				ids = append(ids, id)
				break
			}
			end-- // a part of a character is no piece
		}
		if end == 0 {
			return append(ids[:known], t.unk)
		}
		word = word[end:]
	}
	return ids
}

// words cuts text at white space, and before and after punctuation and CJK characters.
func words(text string) []string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\t', r == '\n', r == '\r':
			b.WriteByte(' ')
		case r == 0, r == utf8.RuneError, unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co): // invalid UTF-8 too
		case isCJK(r):
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	plain := norm.NFD.String(b.String())
	b.Reset()
	for _, r := range plain {
		switch {
		case unicode.Is(unicode.Mn, r): // an accent
		case isPunctuation(r):
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return strings.Fields(b.String())
}

// isPunctuation counts the symbols of ASCII too.
func isPunctuation(r rune) bool {
	return unicode.IsPunct(r) || r < 128 && unicode.IsSymbol(r)
}

// isCJK says whether r is a Chinese character, as BERT has it: Hangul and kana are letters.
func isCJK(r rune) bool {
	for _, block := range [][2]rune{
		{0x4E00, 0x9FFF}, {0x3400, 0x4DBF}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
		{0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0xF900, 0xFAFF}, {0x2F800, 0x2FA1F},
	} {
		if block[0] <= r && r <= block[1] {
			return true
		}
	}
	return false
}

// Len is the size of the vocabulary.
func (t *Tokenizer) Len() int { return len(t.pieces) }

// Piece is the piece of an id, with "##" before one that goes on.
func (t *Tokenizer) Piece(id int) string { return t.pieces[id] }
