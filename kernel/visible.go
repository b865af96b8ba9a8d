package kernel

// Which keys a query sees is decided here and nowhere else. A query sees a prefix of the keys: all
// of them, or with Causal those up to its own position.

// limit returns the number of keys that query i sees.
func (j *job) limit(i int) int {
	if !j.causal {
		return j.k.Len
	}
	return min(max(i+1+j.k.Len-j.q.Len, 0), j.k.Len)
}

// see returns what a panel whose queries see at least min and at most max keys sees of the tile of
// n keys from first: the first all keys are seen by every query, those up to some by some of them,
// and the others by none.
func see(min, max, first, n int) (all, some int) {
	return clamp(min-first, n), clamp(max-first, n)
}

func clamp(x, n int) int { return max(0, min(x, n)) }
