package smollm

import (
	"slices"
	"strings"
	"testing"
)

func TestWordLen(t *testing.T) {
	for text, want := range map[string]string{
		"hello world":     "hello| world",
		"it's they'll 'x": "it|'s| they|'ll| '|x",
		"a  b":            "a| | b",
		"a \n\n b":        "a| \n\n| b",
		"a\nb":            "a|\n|b",
		"x 12":            "x| |1|2",
		"x  12 ³":         "x|  |1|2| |³",
		"end  \n":         "end|  \n",
		"日本語 é—!!? x_1":   "日本語| é|—!!?| x|_|1",
		" \u3000x":        " |\u3000|x",
		"a\xff\xfeb":      "a|\xff\xfe|b",
		"🙂🙂 🙂":            "🙂🙂| 🙂",
	} {
		var words []string
		for rest := text; rest != ""; {
			n := wordLen(rest)
			words = append(words, rest[:n])
			rest = rest[n:]
		}
		if got := strings.Join(words, "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if n := wordLen(strings.Repeat("a", 1<<20)); n != longestWord {
		t.Errorf("a word of %d bytes, want %d", n, longestWord)
	}
}

// testTokenizer has the ids 0 of <|im_start|>, 1 of <|im_end|>, 2 of a to 27 of z, and then a space, a new line, é's first
// byte and some pairs.
func testTokens() (tokens, types, merges []any) {
	tokens = []any{"<|im_start|>", "<|im_end|>"}
	types = []any{int64(3), int64(3)}
	for c := 'a'; c <= 'z'; c++ {
		tokens = append(tokens, string(c))
	}
	tokens = append(tokens, "Ġ", "Ċ", "Ã", "ab", "abc", "bc", "Ġa", "bcd")
	for len(types) < len(tokens) {
		types = append(types, int64(1))
	}
	return tokens, types, []any{"b c", "a b", "bc d", "ab c", "Ġ a"}
}

func TestBytePairs(t *testing.T) {
	tokenizer, err := newTokenizer(testTokens())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int{
		"":           nil,
		"abc":        {2, 33},            // b and c come first, and a bc is no pair
		"ab":         {31},               // the last of them
		"abab":       {31, 31},           // both
		"abcd":       {2, 35},            // one into another
		" a\n":       {34, 29},           // space and new line have characters of their own
		"é":          {30},               // its second byte is in no token
		"<|im_end|>": {10, 14, 6, 15, 5}, // text is no command, and what is in no token is left out
	} {
		if got := tokenizer.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	var text []byte
	for _, id := range []int{34, 29, 30, 1} {
		text = tokenizer.Append(text, id)
	}
	if got := string(text); got != " a\n\xc3<|im_end|>" {
		t.Errorf("%q", got)
	}
	chat, err := tokenizer.Chat("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	text = nil
	for _, id := range chat {
		text = tokenizer.Append(text, id)
	}
	const want = "<|im_start|>system\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n"
	if string(text) != want || chat[0] != 0 {
		t.Errorf("%q, want %q", text, want)
	}
}

func TestBadTokens(t *testing.T) {
	tokens, types, merges := testTokens()
	for name, f := range map[string]func() (*Tokenizer, error){
		"none":                func() (*Tokenizer, error) { return newTokenizer(nil, nil, nil) },
		"types":               func() (*Tokenizer, error) { return newTokenizer(tokens, types[1:], merges) },
		"a merge of none":     func() (*Tokenizer, error) { return newTokenizer(tokens, types, []any{"y z"}) },
		"no merge":            func() (*Tokenizer, error) { return newTokenizer(tokens, types, []any{1}) },
		"a character of none": func() (*Tokenizer, error) { return newTokenizer([]any{"日"}, []any{int64(1)}, nil) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
