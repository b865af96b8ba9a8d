package main

import (
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// pause stops a process between its turns: thread pools of other libraries stay awake for long after a call,
// and would take the cores of those whose turn it is.
func pause(p *os.Process) { p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process) { p.Signal(syscall.SIGCONT) }

// apart keeps an interrupt from the terminal from a child, so that the benchmark that runs can end.
func apart(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// hugePages asks for huge pages for x, before it is written. NumPy does so for its arrays, and reading them
// is a fifth faster: kernels are compared on the same kind of memory.
func hugePages(x []float32) {
	const page = 2 << 20
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (page - 1)
	if whole := (len(b) - skip) &^ (page - 1); whole > 0 {
		syscall.Madvise(b[skip:][:whole], syscall.MADV_HUGEPAGE) // without them it works as well
	}
}
