package minilm_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
	"github.com/selfattn/attn/kernel"
)

var documents = flag.Int("documents", 16, "how many of the 778 documents of others TestDocuments compares")

const folder = "../model"

// farthest is the largest difference of two elements.
func farthest(x, y []float32) (d float64) {
	for i := range x {
		d = max(d, math.Abs(float64(x[i]-y[i])))
	}
	return d
}

// TestGolden holds tokens and vectors to those of Hugging Face's tokenizers and of ONNX Runtime, which ../peer.py kept.
func TestGolden(t *testing.T) {
	m := minilmtest.Model(t, folder)
	file, err := os.Open("../testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var texts []string
	var want [][]float32
	for lines := json.NewDecoder(file); lines.More(); {
		var line struct {
			Text   string
			IDs    []int
			Vector []byte
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		ids := m.Tokenizer.Encode(line.Text)
		if n := min(len(ids), minilm.MaxTokens) - 1; !slices.Equal(ids[:n], line.IDs[:n]) || len(line.IDs) != n+1 {
			t.Errorf("%q: tokens %v, want %v", line.Text, ids, line.IDs)
		}
		vector := make([]float32, minilm.Dim)
		if _, err := binary.Decode(line.Vector, binary.LittleEndian, vector); err != nil {
			t.Fatal(err)
		}
		texts, want = append(texts, line.Text), append(want, vector)
	}
	if len(texts) != 50 {
		t.Fatalf("%d texts, want 50", len(texts))
	}
	got, err := m.Embed(texts, minilm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for i := range got {
		d := farthest(got[i], want[i])
		if !(d <= 5e-7) {
			t.Errorf("%.60q: off by %.3g", texts[i], d)
		}
		worst = max(worst, d)
	}
	t.Logf("off by %.3g at most", worst)
}

// TestDocuments holds vectors to those that others made of their documents with this model, and published.
// A document of more than 512 tokens is cut behind the 512th.
func TestDocuments(t *testing.T) {
	if testing.Short() || kernel.Backend() == "generic" {
		t.Skip("NOT RUN: seconds in assembly, minutes in pure Go")
	}
	m := minilmtest.Model(t, folder)
	files := npmPackage(t, "@sap-ux/fiori-docs-embeddings@1.2.6", "71de3f54d3bd20439664ab53ffc2593cd726a55b86c8c5a47c7eb232bc424910",
		"package/data/embeddings/records.jsonl", "package/data/embeddings/embeddings.bin")
	lines := bytes.Split(bytes.TrimSpace(files[0]), []byte("\n"))
	want := make([]float32, len(files[1])/4)
	if _, err := binary.Decode(files[1], binary.LittleEndian, want); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 778 || len(want) != len(lines)*minilm.Dim {
		t.Fatalf("%d documents and %d numbers", len(lines), len(want))
	}
	n := min(*documents, len(lines))
	worst, cut := 0.0, 0
	for i := range n {
		i = i * len(lines) / n
		var document struct{ ID, Content string }
		if err := json.Unmarshal(lines[i], &document); err != nil {
			t.Fatal(err)
		}
		ids := m.Tokenizer.Encode(document.Content)
		if len(ids) > minilm.MaxTokens {
			ids = ids[:minilm.MaxTokens]
			cut++
		}
		got, err := m.EmbedTokens([][]int{ids}, minilm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d := farthest(got[0], want[i*minilm.Dim:][:minilm.Dim])
		if !(d <= 1e-6) {
			t.Errorf("%s: off by %.3g", document.ID, d)
		}
		worst = max(worst, d)
	}
	t.Logf("%d documents, of which %d are cut: off by %.3g at most", n, cut, worst)
}

// npmPackage returns files of a package of JavaScript, which the folder of the model keeps.
func npmPackage(t *testing.T, name, digest string, paths ...string) [][]byte {
	kept := filepath.Join(folder, digest+".tgz")
	data, err := os.ReadFile(kept)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		temporary := t.TempDir()
		if said, err := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", temporary, name).CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: npm pack %s: %v\n%s", name, err, said)
		}
		packed, _ := filepath.Glob(filepath.Join(temporary, "*.tgz"))
		if len(packed) != 1 {
			t.Fatalf("npm pack %s: %d files, want 1", name, len(packed))
		}
		if data, err = os.ReadFile(packed[0]); err != nil {
			t.Fatal(err)
		}
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
		t.Fatalf("%s: its SHA-256 is %x, want %s", name, sum, digest)
	}
	if err := os.WriteFile(kept, data, 0o600); err != nil {
		t.Fatal(err)
	}
	files := make([][]byte, len(paths))
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		if i := slices.Index(paths, header.Name); i >= 0 {
			if files[i], err = io.ReadAll(archive); err != nil {
				t.Fatal(err)
			}
		}
	}
}
