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

// Whole huge pages inside of large memory are asked for, and nothing of what is small.
func TestHuge(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("no huge pages")
	}
	for _, n := range []int{0, 1, 1 << 10, 4<<20 - 1} {
		x := Huge(make([]uint16, n))
		require.Len(t, x, n)
		for i := range x {
			x[i] = uint16(i)
		}
		if n > 1<<20 {
			require.Contains(t, flags(t, uintptr(unsafe.Pointer(&x[n/2]))), " hg")
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
