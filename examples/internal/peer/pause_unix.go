//go:build unix

package peer

import (
	"os"
	"syscall"
)

func pause(p *os.Process) { p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process) { p.Signal(syscall.SIGCONT) }
