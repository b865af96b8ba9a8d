package main

import (
	"encoding/binary"
	"testing"
)

const (
	nop  = 0xd503201f
	fmla = 0x4e20cc00
	fadd = 0x4e20d400
)

// bge returns a branch over n instructions, backwards if n < 0.
func bge(n int32) uint32 { return 0x5400000a | uint32(n)<<5&0xffffe0 }

func code(words ...uint32) (b []byte) {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// The inner loop is found among branches forward, loops without multiply-adds, and loops around it.
func TestInner(t *testing.T) {
	for _, c := range []struct {
		what        string
		code        []byte
		length, fma int
	}{
		{"one loop", code(nop, fmla, fadd, bge(-2), nop), 2, 1},
		{"a branch forward", code(bge(3), fmla, fadd, bge(-2), nop), 2, 1},
		{"a loop around it", code(fmla, fmla, fmla, nop, bge(-1), bge(-5)), 0, 0},
		{"the one with more", code(fmla, bge(-1), fmla, fmla, bge(-2), fadd, bge(-1)), 2, 2},
		{"nested", code(fmla, fmla, fmla, fmla, bge(-1), bge(-5)), 1, 1},
	} {
		l, err := inner(c.code)
		if (err != nil) != (c.fma == 0) || len(l.code)/4 != c.length || l.fmas != c.fma {
			t.Errorf("%s: %d instructions, %d multiply-adds, %v; want %d, %d", c.what, len(l.code)/4, l.fmas, err, c.length, c.fma)
		}
	}
	if _, err := inner(code(nop, fmla)); err == nil {
		t.Error("no loop, and no error")
	}
}
