package peer

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPeer has a shell for an interpreter, which takes scripts and arguments alike.
func TestPeer(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("NOT RUN: ", err)
	}
	p, err := Start("Shell", "sh", `read request; echo "[\"$0\", $request]"; read request; echo fault >&2`, "argument")
	if err != nil {
		t.Fatal(err)
	}
	var answer []any
	if err := p.Ask(7, &answer); err != nil || len(answer) != 2 || answer[0] != "argument" || answer[1] != 7.0 {
		t.Error(answer, err)
	}
	if runtime.GOOS == "linux" { // which says that the child is stopped
		stopped := func() bool {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
			return err == nil && strings.Contains(string(state), ") T ")
		}
		require.Eventually(t, stopped, time.Minute, time.Millisecond)
	}
	if err := p.Ask(8, &answer); err == nil || !strings.HasPrefix(err.Error(), "Shell: ") || !strings.HasSuffix(err.Error(), "fault\n") {
		t.Errorf("%v, want what the child said", err)
	}
	if _, err := Start("none", "no such interpreter", ""); err == nil {
		t.Error("an interpreter that is not there")
	}
}
