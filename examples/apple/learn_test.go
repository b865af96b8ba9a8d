package main

import (
	"slices"
	"testing"

	"github.com/selfattn/attn/examples/internal/learn"
	"github.com/stretchr/testify/require"
)

// What is learned holds for words that were not learned from: apple moves toward the sense of the word beside it, as random
// projections do not, and looks at that word more than at the other one.
func TestLearning(t *testing.T) {
	voc := vocabularyOf(t)
	for sentence := range appleSentences {
		s := appleSentences[sentence]
		for _, words := range [][]string{s.words, heldOut[s.expected.name].words, heldOut[s.versus.name].words} {
			for _, word := range words {
				require.NotContains(t, slices.Concat(learnedOther, learnedSense[0], learnedSense[1]), word)
			}
		}
	}
	l, err := newLearner(voc)
	require.NoError(t, err)
	for _, s := range appleSentences {
		_, toward, away, err := l.read(s)
		require.NoError(t, err)
		require.InDelta(t, toward, away, .05, "random projections tell no sense")
	}
	first, last, err := l.train(learnSteps)
	require.NoError(t, err)
	require.Less(t, last, .85*first)
	for _, s := range appleSentences {
		weights, toward, away, err := l.read(s)
		require.NoError(t, err)
		require.Greater(t, toward, away+.15, s.words)
		row := weights[apple*len(s.words):][:len(s.words)]
		require.Greater(t, row[2], 2*row[0], s.words)
	}
	require.Equal(t, "b0f932f9c122d5ca", learn.Digest(l.weights), "on every backend")
}
