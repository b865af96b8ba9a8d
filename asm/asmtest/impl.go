// Package asmtest is the support of the tests: the table of implementations, memory with guard
// pages, edge inputs, and comparisons by bits and by ulp.
package asmtest

import (
	"os"
	"strings"
	"testing"

	"github.com/selfattn/attn/asm/internal/race"
)

// Race reports whether the race detector is at work, and Emulated, by the environment variable ATTN_EMULATED, whether
// an emulator is: it shows nothing about time, and takes as long for plain Go as for assembly.
const Race = race.Enabled

var Emulated = os.Getenv("ATTN_EMULATED") != ""

// SkipPlain skips a test that does most of its work in one goroutine of plain Go, for which the race detector and an
// emulator take minutes: 'make test' runs it.
func SkipPlain(t testing.TB) {
	if Race || Emulated {
		t.Skip("plain Go in one goroutine")
	}
}

// SkipRace skips a test of millions of values in one goroutine where the race detector looks on, which finds nothing there.
func SkipRace(t testing.TB) {
	if Race {
		t.Skip("one goroutine")
	}
}

// Run runs test for each assembly implementation that this machine supports. An implementation that
// the environment variable ATTN_REQUIRE names (several are separated by commas) fails where it is
// not supported; another one is skipped.
func Run(t *testing.T, test func(t *testing.T, impl Impl)) {
	for _, impl := range Impls {
		t.Run(impl.Name, func(t *testing.T) {
			if !impl.Supported {
				if Required(impl.Name) {
					t.Fatalf("ATTN_REQUIRE names %s, which this machine does not support", impl.Name)
				}
				t.Skipf("this machine does not support %s", impl.Name)
			}
			test(t, impl)
		})
	}
}

// Required reports whether ATTN_REQUIRE names a backend.
func Required(name string) bool {
	for _, r := range strings.Split(os.Getenv("ATTN_REQUIRE"), ",") {
		if r == name {
			return true
		}
	}
	return false
}
