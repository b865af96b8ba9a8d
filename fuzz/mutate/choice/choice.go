// Package choice is what mutated code calls instead of its operators: all mutants are in one build, and the environment says
// which one is at work. The command fuzz/mutate writes such code, and nothing else imports this package.
package choice

import (
	"cmp"
	"os"
	"strconv"
	"sync/atomic"
)

// Mutant is the variable with the number of the mutant at work, and Record that with the file where the numbers of those that
// are met go, a byte for each.
const Mutant, Record = "ATTN_MUTANT", "ATTN_MUTANTS_MET"

var (
	chosen, _ = strconv.Atoi(os.Getenv(Mutant))
	record    = open(os.Getenv(Record))
	met       [1 << 16]atomic.Bool // in the file already
)

func open(path string) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	return f
}

// On reports whether a mutant is at work.
func On(id int) bool {
	if record != nil && !met[id].Swap(true) {
		if _, err := record.WriteAt([]byte{1}, int64(id)); err != nil {
			panic(err)
		}
	}
	return id == chosen
}

// A Number has the operators that are exchanged.
type Number interface {
	Integer | ~float32 | ~float64
}

// An Integer also has a remainder.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

// Not is x, or its opposite.
func Not(id int, x bool) bool { return x != On(id) }

// Less is x < y, or x <= y.
func Less[T cmp.Ordered](id int, x, y T) bool { return x < y || On(id) && x == y }

// LessEqual is x <= y, or x < y.
func LessEqual[T cmp.Ordered](id int, x, y T) bool { return x < y || x == y && !On(id) }

// Greater is x > y, or x >= y.
func Greater[T cmp.Ordered](id int, x, y T) bool { return Less(id, y, x) }

// GreaterEqual is x >= y, or x > y.
func GreaterEqual[T cmp.Ordered](id int, x, y T) bool { return LessEqual(id, y, x) }

// Add is x + y, or x - y.
func Add[T Number](id int, x, y T) T {
	if On(id) {
		return x - y
	}
	return x + y
}

// Sub is x - y, or x + y.
func Sub[T Number](id int, x, y T) T {
	if On(id) {
		return x + y
	}
	return x - y
}

// Mul is x * y, or x / y.
func Mul[T Number](id int, x, y T) T {
	if On(id) {
		return x / y
	}
	return x * y
}

// Quo is x / y, or x * y.
func Quo[T Number](id int, x, y T) T {
	if On(id) {
		return x * y
	}
	return x / y
}

// Rem is x % y, or x * y.
func Rem[T Integer](id int, x, y T) T {
	if On(id) {
		return x * y
	}
	return x % y
}

// Neg is -x, or x.
func Neg[T Number](id int, x T) T {
	if On(id) {
		return x
	}
	return -x
}

// Step is what is added to a variable that is counted up or down by step, or its opposite.
func Step[T Number](id int, step int) T {
	if On(id) {
		step = -step
	}
	return T(step)
}

// Pick is x, or y.
func Pick[T any](id int, x, y T) T {
	if On(id) {
		return y
	}
	return x
}
