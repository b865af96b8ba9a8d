package smollm

import (
	"math"
	"slices"
	"testing"
)

func TestGreedy(t *testing.T) {
	s := NewSampler(0, 1, 1)
	if got := s.Next([]float32{1, 3, 2, 3}); got != 1 {
		t.Errorf("%d, want the first of the largest, 1", got)
	}
}

// TestDraws counts draws of shares .5, .3 and .2, of which .6 takes the first two.
func TestDraws(t *testing.T) {
	logits := []float32{float32(math.Log(0.2)), float32(math.Log(0.5)), float32(math.Log(0.3)), -50}
	for _, c := range []struct {
		temperature, topP float32
		want              []float64
	}{
		{1, 1, []float64{0.2, 0.5, 0.3, 0}},
		{1, 0.6, []float64{0, 0.625, 0.375, 0}},
		{1, 1e-9, []float64{0, 1, 0, 0}},
		{0.5, 1, []float64{0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38, 0}},
	} {
		s, again := NewSampler(c.temperature, c.topP, 7), NewSampler(c.temperature, c.topP, 7)
		other := NewSampler(c.temperature, c.topP, 8)
		counts := make([]float64, len(logits))
		const draws = 20000
		var first, second, third []int
		for range draws {
			id := s.Next(logits)
			counts[id] += 1.0 / draws
			first, second, third = append(first, id), append(second, again.Next(logits)), append(third, other.Next(logits))
		}
		for id, want := range c.want {
			if d := math.Abs(counts[id] - want); d > 0.015 {
				t.Errorf("temperature %g, top-p %g: token %d has a share of %.3f, want %.3f", c.temperature, c.topP, id, counts[id], want)
			}
		}
		if !slices.Equal(first, second) {
			t.Errorf("temperature %g, top-p %g: a seed draws twice differently", c.temperature, c.topP)
		}
		if c.topP == 1 && slices.Equal(first, third) {
			t.Errorf("temperature %g: two seeds draw the same", c.temperature)
		}
	}
}
