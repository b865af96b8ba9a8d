// Init is the first process of the machine that .ci/test-avx512 emulates. It runs the command of each
// line of /commands, prints on the console whether it passed, and powers off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

func main() {
	commands, err := os.ReadFile("/commands")
	if err != nil {
		fmt.Println("init:", err)
	}
	for line := range strings.Lines(string(commands)) {
		words := strings.Fields(line)
		cmd := exec.Command(words[0], words[1:]...) // inherits ATTN_REQUIRE from Linux's parameters
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Println("init:", err)
		} else {
			fmt.Println("init: passed")
		}
	}
	// Wait until the serial line has sent everything (tcdrain).
	const tcsbrk = 0x5409
	syscall.Syscall(syscall.SYS_IOCTL, os.Stdout.Fd(), tcsbrk, 1)
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}
