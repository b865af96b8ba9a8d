package main

import (
	"slices"
	"testing"

	"github.com/selfattn/attn/examples/internal/learn"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// No word that is shown or compared with is learned from.
func TestWordsKeptOut(t *testing.T) {
	for _, s := range appleSentences {
		for _, words := range [][]string{s.words, heldOut[s.expected.name].words, heldOut[s.versus.name].words} {
			require.Subset(t, keptOut, words)
		}
	}
	l, err := newLearner(vocabularyOf(t), learnSeed)
	require.NoError(t, err)
	senses := slices.Concat(learnedSense[:]...)
	require.Subset(t, l.candidates, senses)
	for _, word := range keptOut {
		require.NotContains(t, slices.Concat(senses, learnedOther, l.candidates), word)
	}
}

// From each random start, what is learned holds for words that were not learned from: apple moves toward each word of the sense of the
// word beside it and away from each of the other, as random projections do not move it, and looks at nothing but that word.
func TestLearning(t *testing.T) {
	voc := vocabularyOf(t)
	starts := learnStarts
	if testing.Short() || kernel.Backend() == "generic" {
		starts = 1 // each has many steps
	}
	for seed := range uint64(starts) {
		l, err := newLearner(voc, learnSeed+seed)
		require.NoError(t, err)
		for _, s := range appleSentences {
			_, toward, away, err := l.read(s)
			require.NoError(t, err)
			for _, change := range slices.Concat(toward, away) {
				require.InDelta(t, 0, change, .03, "random projections tell no sense")
			}
		}
		first, last, err := l.train(learnSteps)
		require.NoError(t, err)
		require.Less(t, last, .5*first)
		for _, s := range appleSentences {
			weights, toward, away, err := l.read(s)
			require.NoError(t, err)
			t.Logf("seed %d, %v: toward %+.3f, away %+.3f", learnSeed+seed, s.words, toward, away)
			require.Greater(t, slices.Min(toward), .01, s.words)
			require.Less(t, slices.Max(away), -.3, s.words)
			require.Greater(t, weights[apple*len(s.words):][2], float32(.95), s.words)
		}
		if seed == 0 {
			require.Equal(t, "7827bef1dab35c1f", learn.Digest(l.weights), "on every backend")
		}
	}
}
