package kernel

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// The digests of the results of calls, committed once: whatever the backend, the architecture, the
// compiler or the version of this package, these are the bits. New calls go to the end.
var golden = []uint64{
	0xac7a7534372eb8aa, // Dot
	0xb17065c54ac66ae0, // Exp
	0xc3da3b11c7afba2d, // Softmax
	0x6606ec21d332ff80, // SoftmaxRows
	0xf767e841e1ad042f, // LogSumExp
	0xd08c5c6f0b561997, // MatMul
	0x775633c0ab11393d, // Attention: prefill
	0x6c1b2ae14cc5a83b, // of odd dims
	0x050061cfecc7b19e, // causal
	0x175f91c48bb0d4a0, // decode
	0x83c4c8761047c331, // grouped decode
	0x90bb2b0c76821e7f, // split decode
	0x255acdc9f67e1346, // AttentionWeights
	0x3415f1f2d926d573, // SelfAttention.Forward
	0x763ded2499188db5, // SelfAttention.Weights
	0xf3fd58e61a9dd7b9, // MatMul of many terms
	0x3b05184da91a0bc3, // MatMulPacked
	0x6c13119d8c5681d4, // Rotary, half-split
	0x8ac8b10c30478556, // interleaved
	0xa02c14b12ccf39bc, // GELU
	0xe9b78dea2af6dd2a, // GELUTanh
	0x4a5a455ffc314907, // SiLU
	0x087f86d30907b826, // LayerNorm
	0xedae1811f2033139, // RMSNorm
	0xc498d4f399472b44, // Attention: soft cap
	0x692e3635463949e0, // ALiBi
	0x9242203b7173fab0, // bias
	0x9de464b7aa411dc9, // bias of keys
	0x689796f212bd12a0, // all edits, decode
	0x3415f1f2d926d573, // SelfAttention.Forward, packed
	0x763ded2499188db5, // SelfAttention.Weights, packed
	0x6bc5da74bcbb346b, // Attention: sinks
	0x004125cd84e04cd3, // sinks, decode over spans
	0xa83e1fb299152a2a, // prefill over spans
	0xaecbeb27fdefc7e3, // AttentionGradient
	0x9650e3ca575f6537, // causal, of odd dims
	0xd21188300442d098, // soft cap, ALiBi and bias
	0xf427f9a8420e4f3d, // SoftmaxGradient
	0xa6a0d1b3d0512697, // AttentionGradient: dropout, all edits and their gradients
	0xe668503e847592d7, // SelfAttention.Backward
}

func TestDigests(t *testing.T) {
	all := calls(rand.New(rand.NewPCG(5, 1)), asmtest.Ties) // made of integers: equal everywhere
	require.Len(t, golden, len(all))
	for i, c := range all {
		h := fnv.New64a()
		for _, v := range c.result(t, 2) {
			bits := math.Float32bits(v)
			if v != v {
				bits = 0x7fc00000 // all NaN are one
			}
			h.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		}
		require.Equal(t, golden[i], h.Sum64(), "%s: %#016x", c.name, h.Sum64())
	}
}
