package smollm

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Tokenizer cuts text into the tokens of a vocabulary by byte pairs, as GPT-2 does (Radford et al., 2019): a word is
// its bytes, and the two neighbours that the list of merges has first become one, until it has none of them.
type Tokenizer struct {
	pieces [][]byte // of each id
	byte   [256]int // the id of each byte, or -1: the model has not been trained on some control characters
	merges map[[2]int]merge
	named  map[string]int // tokens that no text becomes, such as <|im_end|>
}

type merge struct{ rank, id int }

// newTokenizer takes the tokens of a GGUF file, their types and the merges.
func newTokenizer(tokens, types, merges []any) (*Tokenizer, error) {
	if len(tokens) == 0 || len(types) != len(tokens) {
		return nil, fmt.Errorf("%d tokens and %d types", len(tokens), len(types))
	}
	t := &Tokenizer{pieces: make([][]byte, len(tokens)), merges: map[[2]int]merge{}, named: map[string]int{}}
	original := bytesOfCharacters()
	ids := map[string]int{}
	for id, token := range tokens {
		text, _ := token.(string)
		if types[id] != int64(1) { // normal
			t.named[text] = id
			t.pieces[id] = []byte(text)
			continue
		}
		for _, r := range text {
			b, ok := original[r]
			if !ok {
				return nil, fmt.Errorf("token %d: %q stands for no byte", id, r)
			}
			t.pieces[id] = append(t.pieces[id], b)
		}
		ids[string(t.pieces[id])] = id
	}
	for b := range t.byte {
		id, ok := ids[string([]byte{byte(b)})]
		if !ok {
			id = -1
		}
		t.byte[b] = id
	}
	plain := func(s string) string {
		var b []byte
		for _, r := range s {
			b = append(b, original[r])
		}
		return string(b)
	}
	for rank, m := range merges {
		text, _ := m.(string)
		left, right, _ := strings.Cut(text, " ")
		left, right = plain(left), plain(right)
		a, okA := ids[left]
		b, okB := ids[right]
		both, ok := ids[left+right]
		if !okA || !okB || !ok {
			return nil, fmt.Errorf("merge %d: %q is of no tokens", rank, text)
		}
		if _, twice := t.merges[[2]int{a, b}]; !twice {
			t.merges[[2]int{a, b}] = merge{rank, both}
		}
	}
	return t, nil
}

// bytesOfCharacters says which byte a character of a token stands for: printable ones of Latin-1 for themselves, the
// others, in their order, for the rest.
func bytesOfCharacters() map[rune]byte {
	m := map[rune]byte{}
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= '¡' && b <= '¬' || b >= '®' && b <= 'ÿ' {
			m[b] = byte(b)
		} else {
			m[next] = byte(b)
			next++
		}
	}
	return m
}

// Encode returns the ids of text.
func (t *Tokenizer) Encode(text string) []int {
	var ids []int
	for text != "" {
		n := wordLen(text)
		ids = t.appendWord(ids, text[:n])
		text = text[n:]
	}
	return ids
}

// appendWord appends the ids of a word.
func (t *Tokenizer) appendWord(ids []int, word string) []int {
	start := len(ids)
	for _, b := range []byte(word) {
		if id := t.byte[b]; id >= 0 {
			ids = append(ids, id)
		}
	}
	for {
		best, at := merge{rank: len(t.merges)}, -1
		for i := start; i+1 < len(ids); i++ {
			if m, ok := t.merges[[2]int{ids[i], ids[i+1]}]; ok && m.rank < best.rank {
				best, at = m, i
			}
		}
		if at < 0 {
			return ids
		}
		ids[at] = best.id
		ids = append(ids[:at+1], ids[at+2:]...)
	}
}

// longestWord bounds the time of appendWord, which grows with its square.
const longestWord = 1 << 10

// wordLen is the length of the word that begins text: a digit; letters, or what is neither letter nor digit, with a space
// before them; the end of a contraction; or white space, up to the character that belongs to the next word.
func wordLen(text string) int {
	for _, end := range []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
		if strings.HasPrefix(text, end) {
			return len(end)
		}
	}
	first, n := utf8.DecodeRuneInString(text)
	if unicode.IsNumber(first) {
		return n
	}
	from := 0
	if first == ' ' {
		from = 1
	}
	for _, class := range []func(rune) bool{
		unicode.IsLetter,
		func(r rune) bool { return !unicode.IsSpace(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) },
	} {
		if n := run(text[from:], class); n > 0 {
			return from + n
		}
	}
	n = run(text, unicode.IsSpace)
	if n == len(text) {
		return n
	}
	if next, _ := utf8.DecodeRuneInString(text[n:]); unicode.IsNumber(next) {
		return n // digits stand alone
	}
	if _, last := utf8.DecodeLastRuneInString(text[:n]); last < n {
		return n - last
	}
	return n
}

// run is how many bytes of text, up to about longestWord, are characters of a class.
func run(text string, class func(rune) bool) int {
	for i, r := range text {
		if !class(r) || i >= longestWord {
			return i
		}
	}
	return len(text)
}

// Append appends the bytes of a token to text: a character may be several tokens.
func (t *Tokenizer) Append(text []byte, id int) []byte { return append(text, t.pieces[id]...) }

// Chat returns the ids of a conversation of one message, which a model answers.
func (t *Tokenizer) Chat(system, message string) ([]int, error) {
	begin, okBegin := t.named["<|im_start|>"]
	end, okEnd := t.named["<|im_end|>"]
	if !okBegin || !okEnd {
		return nil, errors.New("the vocabulary has no <|im_start|> and <|im_end|>")
	}
	var ids []int
	for _, part := range [][2]string{{"system", system}, {"user", message}} {
		ids = append(append(append(ids, begin), t.Encode(part[0]+"\n"+part[1])...), end)
		ids = append(ids, t.Encode("\n")...)
	}
	return append(append(ids, begin), t.Encode("assistant\n")...), nil
}
