package smollm

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/selfattn/attn/kernel"
)

// A Sampler chooses the next token. The same one with the same seed chooses the same tokens on every machine.
type Sampler struct {
	temperature, topP float32
	random            *rand.Rand
	ids               []int
	shares            []float32
}

// NewSampler draws tokens by their likelihood, with logits divided by temperature: 0 always takes the likeliest. It draws
// among the likeliest only, those that together have a share of topP, from 0 to 1.
func NewSampler(temperature, topP float32, seed uint64) *Sampler {
	return &Sampler{temperature: temperature, topP: topP, random: rand.New(rand.NewPCG(seed, 0))}
}

// Next chooses a token, of equally likely ones the first.
func (s *Sampler) Next(logits []float32) int {
	best := 0
	for id, x := range logits {
		if x > logits[best] {
			best = id
		}
	}
	if s.temperature == 0 {
		return best
	}
	s.shares = slices.Grow(s.shares[:0], len(logits))[:len(logits)]
	for id, x := range logits {
		s.shares[id] = (x - logits[best]) / s.temperature
	}
	kernel.Softmax(s.shares, s.shares)
	s.ids = s.ids[:0]
	for id, share := range s.shares {
		if share > 1e-6 { // or the order of the vocabulary's tail takes longer than the model
			s.ids = append(s.ids, id)
		}
	}
	slices.SortStableFunc(s.ids, func(a, b int) int { return cmp.Compare(s.shares[b], s.shares[a]) })
	var sum float32
	n := 0
	for n == 0 || n < len(s.ids) && sum < s.topP {
		sum += s.shares[s.ids[n]]
		n++
	}
	at := s.random.Float32() * sum
	for _, id := range s.ids[:n] {
		if at -= s.shares[id]; at < 0 {
			return id
		}
	}
	return s.ids[n-1]
}
