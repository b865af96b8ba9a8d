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

// What is learned holds for words that were not learned from, in the mean over random starts: apple moves toward the sense of the word
// beside it and away from the other, as random projections do not move it. From each it looks at that word more than at the one in front.
func TestLearning(t *testing.T) {
	voc := vocabularyOf(t)
	starts := learnStarts
	if testing.Short() || kernel.Backend() == "generic" {
		starts = 1 // each has many steps
	}
	var towards, aways [len(appleSentences)]float64
	for seed := range uint64(starts) {
		l, err := newLearner(voc, learnSeed+seed)
		require.NoError(t, err)
		for _, s := range appleSentences {
			_, toward, away, err := l.read(s)
			require.NoError(t, err)
			require.InDelta(t, 0, toward, .02, "random projections tell no sense")
			require.InDelta(t, 0, away, .02, "random projections tell no sense")
		}
		first, last, err := l.train(learnSteps)
		require.NoError(t, err)
		require.Less(t, last, .5*first)
		for i, s := range appleSentences {
			weights, toward, away, err := l.read(s)
			require.NoError(t, err)
			t.Logf("seed %d, %v: toward %+.3f, away %+.3f", learnSeed+seed, s.words, toward, away)
			towards[i] += toward / learnStarts
			aways[i] += away / learnStarts
			row := weights[apple*len(s.words):][:len(s.words)]
			require.Greater(t, row[2], 2*row[0], s.words)
		}
		if seed == 0 {
			require.Equal(t, "5799240f8880761f", learn.Digest(l.weights), "on every backend")
		}
	}
	if starts < learnStarts {
		return
	}
	for i, s := range appleSentences {
		require.Greater(t, towards[i], .01, s.words)
		require.Less(t, aways[i], -.15, s.words)
	}
}
