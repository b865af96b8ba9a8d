// Package documents has 778 pieces of a manual with vectors that others made of them with all-MiniLM-L6-v2, and published: those of
// SAP Fiori (Apache-2.0).
package documents

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/internal/npm"
)

// A Document is a text with its vector, of minilm.Dim elements and length 1. Texts of more than 512 tokens were cut behind the 512th.
type Document struct {
	ID, Title, Content string
	Vector             []float32
}

// The files, of which the last one is written last.
const (
	records = "records.jsonl"
	Vectors = "embeddings.bin"
)

// Fetch downloads the documents, 2 MB, into folder with npm, and checks their digest. It leaves a folder that has them alone.
func Fetch(ctx context.Context, folder string) error {
	return npm.Package{
		Name:   "@sap-ux/fiori-docs-embeddings@1.2.6",
		Digest: "71de3f54d3bd20439664ab53ffc2593cd726a55b86c8c5a47c7eb232bc424910",
		Files:  []string{"package/data/embeddings/" + records, "package/data/embeddings/" + Vectors},
	}.Fetch(ctx, folder)
}

// Load reads the documents from a folder.
func Load(folder string) ([]Document, error) {
	lines, err := os.ReadFile(filepath.Join(folder, records))
	if err != nil {
		return nil, err
	}
	var all []Document
	for decoder := json.NewDecoder(bytes.NewReader(lines)); decoder.More(); {
		var d Document
		if err := decoder.Decode(&d); err != nil {
			return nil, fmt.Errorf("%s: %w", records, err)
		}
		all = append(all, d)
	}
	numbers, err := os.ReadFile(filepath.Join(folder, Vectors))
	if err != nil {
		return nil, err
	}
	if want := 4 * minilm.Dim * len(all); len(numbers) != want {
		return nil, fmt.Errorf("%s has %d bytes, want %d for %d documents", Vectors, len(numbers), want, len(all))
	}
	for i := range all {
		all[i].Vector = make([]float32, minilm.Dim)
		if _, err := binary.Decode(numbers[4*minilm.Dim*i:], binary.LittleEndian, all[i].Vector); err != nil {
			return nil, err
		}
	}
	return all, nil
}
