package memory

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Huge pages are asked for to both ends, also for less than one, and nothing for what is small.
func TestHuge(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("no huge pages")
	}
	for _, n := range []int{0, 1, 1 << 10, smallest/2 - 1, smallest / 2, 4<<20 - 1} { // ascending, as pages stay huge
		x := Huge(make([]uint16, n))
		require.Len(t, x, n)
		for i := range x {
			x[i] = uint16(i)
		}
		if 2*n < smallest {
			continue
		}
		for _, i := range []int{0, n / 2, n - 1} {
			require.Contains(t, flags(t, uintptr(unsafe.Pointer(&x[i]))), " hg")
		}
	}
}

// flags returns what the kernel says of the memory at an address.
func flags(t *testing.T, at uintptr) string {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	inside := false
	for s := bufio.NewScanner(f); s.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(s.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		} else if flags, ok := strings.CutPrefix(s.Text(), "VmFlags:"); ok && inside {
			return flags
		}
	}
	t.Skip("an emulator shows no flags")
	return ""
}
