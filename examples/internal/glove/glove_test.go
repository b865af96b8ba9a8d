package glove

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVocabulary(t *testing.T) {
	voc, err := Load()
	require.NoError(t, err)
	require.Len(t, voc.Words, 120)
	require.Len(t, voc.Vectors, 120, "words are distinct")
	norm := func(x []float32) float64 {
		var sum float64
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		return math.Sqrt(sum)
	}
	for word, vector := range voc.Vectors {
		require.Len(t, vector, Dim, word)
		require.InDelta(t, 6, norm(vector), 2, word) // and so all are finite
	}
	// The norms that the source gives for its vectors.
	require.InDelta(t, 5.99219058, norm(voc.Vectors["apple"]), 1e-6)
	require.InDelta(t, 5.92893174, norm(voc.Vectors["blue"]), 1e-6)

	cos := func(a, b string) float64 { return Cosine(voc.Vectors[a], voc.Vectors[b]) }
	require.InDelta(t, 1, cos("apple", "apple"), 1e-12)
	for _, near := range []string{"iphone", "fruit", "banana", "laptop"} {
		require.Greater(t, cos("apple", near), cos("apple", "parliament")+0.3, near)
	}
	require.Greater(t, cos("king", "queen"), cos("king", "phone"))
	require.Equal(t, "phone", voc.Nearest(voc.Vectors["phones"], []string{"phones"}, 1)[0])
	require.NotContains(t, voc.Vectors, "i")
}

func TestVocabularyErrors(t *testing.T) {
	numbers := strings.Repeat(" 0.5", Dim)
	_, err := read("love" + numbers + "\napple 1 2\n")
	require.ErrorContains(t, err, "line 2 has 3 fields")
	_, err = read("love" + numbers[:len(numbers)-3] + "x")
	require.ErrorContains(t, err, "love")
}
