package spec

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Stale compares the committed files of a directory with what write writes, and says what is not
// the same: a file that differs, one that is missing, or assembly that comes from no generator.
func Stale(committed, fresh string, write func(dir string) error) (found []string, err error) {
	if err := write(fresh); err != nil {
		return nil, err
	}
	generated := map[string]bool{}
	err = filepath.WalkDir(fresh, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(fresh, path)
		if err != nil {
			return err
		}
		generated[name] = true
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil || !bytes.Equal(got, want) {
			found = append(found, fmt.Sprintf("%s is not what its generator writes: run make generate", name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	assembly, err := filepath.Glob(filepath.Join(committed, "*.s"))
	if err != nil {
		return nil, err
	}
	for _, path := range assembly {
		if !generated[filepath.Base(path)] {
			found = append(found, path+" comes from no generator")
		}
	}
	return found, nil
}
