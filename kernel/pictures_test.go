package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The pictures of OPTIONS.md: which keys (across) the queries (down) see, drawn from what AttentionWeights says where
// all scores are equal. The darker a key, the larger its share of the row. ATTN_PICTURES=write draws them again.
func TestPictures(t *testing.T) {
	prefix := &Mask{Data: make([]bool, 12*12), QueryStride: 12}
	for i := range 12 {
		for j := range 12 {
			prefix.Data[12*i+j] = j < 4 || j <= i
		}
	}
	blocks := &Bias{Data: make([]float32, 12*12), QueryStride: 12}
	for i := range 12 {
		for j := range 12 {
			if (i/4+j/4)%2 == 1 {
				blocks.Data[12*i+j] = -1
			}
		}
	}
	for _, p := range []struct {
		name  string
		shape shape
		o     Options
	}{
		{"all", shape{1, 1, 1, 12, 12, 1, 1}, Options{}},
		{"causal", shape{1, 1, 1, 8, 12, 1, 1}, Options{Causal: true}},
		{"start", shape{1, 1, 1, 8, 12, 1, 1}, Options{Causal: true, Start: []int{0}}},
		{"window", shape{1, 1, 1, 12, 12, 1, 1}, Options{Window: &Window{3, 1}}},
		{"causal-window", shape{1, 1, 1, 12, 12, 1, 1}, Options{Causal: true, Window: &Window{3, -1}}},
		{"lengths", shape{2, 1, 1, 8, 8, 1, 1}, Options{Causal: true, KeyLen: []int{5, 8}, QueryLen: []int{5, 8}}},
		{"packed", shape{1, 1, 1, 12, 12, 1, 1}, Options{Causal: true, QueryOffsets: []int{0, 3, 8, 12}, KeyOffsets: []int{0, 3, 8, 12}}},
		{"mask", shape{1, 1, 1, 12, 12, 1, 1}, Options{Mask: prefix}},
		{"alibi", shape{1, 2, 2, 12, 12, 1, 1}, Options{Causal: true, ALiBi: []float32{0.5, 0.125}}},
		{"bias", shape{1, 1, 1, 12, 12, 1, 1}, Options{Bias: blocks}},
		{"sinks", shape{1, 2, 2, 12, 12, 1, 1}, Options{Causal: true, Sinks: []float32{-2, 2}}},
	} {
		path := filepath.Join("pictures", p.name+".svg")
		got := picture(t, p.shape, &p.o)
		if os.Getenv("ATTN_PICTURES") == "write" {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), got, "%s: draw it again by ATTN_PICTURES=write go test ./kernel -run TestPictures", path)
	}
}

// picture draws the heads of all batch members side by side.
func picture(t *testing.T, s shape, o *Options) string {
	const cell, gap = 14, 10
	zeros := func(heads, n int) Tensor {
		return Tensor{Data: make([]float32, s.batch*heads*n), Batch: s.batch, Heads: heads, Len: n, Dim: 1}
	}
	all := make([]int, s.lq)
	for i := range all {
		all[i] = i
	}
	one := s.lk*cell + gap
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">`+"\n", s.batch*s.heads*one-gap+2, s.lq*cell+2)
	for n := range s.batch * s.heads {
		w := newZeros(s.lq, s.lk)
		require.NoError(t, AttentionWeights(w, zeros(s.heads, s.lq), zeros(s.kvHeads, s.lk), n/s.heads, n%s.heads, all, o))
		for i, row := range w.rows() {
			most, sinks := float32(0), o.Sinks != nil
			for _, x := range row {
				most = max(most, x)
			}
			if sinks { // of what the keys would have without one
				most = 0.5
			}
			for j, x := range row {
				fill := `fill="#8884"`
				if x > 0 {
					fill = fmt.Sprintf(`fill="#2a6fdb" fill-opacity="%.2f"`, 0.25+float32(0.75*min(1, x/most)))
				}
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" %s/>`+"\n", n*one+j*cell+1, i*cell+1, cell-2, cell-2, fill)
			}
		}
	}
	return b.String() + "</svg>\n"
}

func newZeros(rows, cols int) Matrix { return Matrix{rows, cols, cols, make([]float32, rows*cols)} }

// OPTIONS.md has each field of Options, and what it links to exists.
func TestOptionsPage(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	page, examples := read("OPTIONS.md"), read("example_test.go")
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if f.IsExported() {
			require.Contains(t, page, "`"+f.Name+"`", "a field that the page leaves out")
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^:)#]+)\)`).FindAllStringSubmatch(page, -1) {
		_, err := os.Stat(link[1])
		require.NoError(t, err)
	}
	all := regexp.MustCompile("`(Example\\w+)`").FindAllStringSubmatch(page, -1)
	require.NotEmpty(t, all)
	for _, e := range all {
		require.Contains(t, examples, "func "+e[1]+"() {")
	}
	drawn, err := filepath.Glob("pictures/*.svg")
	require.NoError(t, err)
	for _, p := range drawn {
		require.Contains(t, page, filepath.ToSlash(p), "a picture that nobody sees")
	}
}
