package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where no model is, the page does without; errors are told by the status.
func TestWithoutModel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.Equal(t, 0, run(ctx, []string{"-address", "localhost:0", "-open=false"}))
	require.Equal(t, 1, run(ctx, []string{"apple"}))
	require.Equal(t, 1, run(ctx, []string{"-model", "folder"}))
}

// Where the model is, the program beside it takes over with the arguments, and its status is returned; if go cannot build it,
// the page does without.
func TestHandOver(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("NOT RUN: there is no go to build the program with")
	}
	t.Setenv("GOOS", "") // under an emulator the program is built for the machine itself
	t.Setenv("GOARCH", "")
	t.Chdir(t.TempDir())
	const program = "examples/playground/encoder/main.go"
	write := func(path, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("examples/encoder/model/model.safetensors", "")
	write("examples/playground/encoder/go.mod", "module encoder\n")
	write(program, `package main

import (
	"os"
	"strings"
)

func main() {
	os.WriteFile("args", []byte(strings.Join(os.Args[1:], " ")), 0o644)
	os.Exit(7)
}
`)
	require.Equal(t, 7, run(t.Context(), []string{"-open=false"}))
	args, err := os.ReadFile("args")
	require.NoError(t, err)
	require.Equal(t, "-model examples/encoder/model -open=false", string(args))

	write(program, "package main")
	require.Equal(t, 2, run(t.Context(), []string{"-h"}), "the page's own help")
}
