package avx2

import "testing"

// Every number of rows is cut into tiles of 6, 5 and one of less; none is left over, and
// the slow rest is needed for few numbers only.
func TestGroups(t *testing.T) {
	for n := range 2000 {
		small, big, rest := groups(n)
		if small < 0 || big < 0 || rest < 0 || rest > 4 || 5*small+6*big+rest != n || n >= 20 && rest != 0 {
			t.Errorf("groups(%d) = %d of 5, %d of 6, rest %d", n, small, big, rest)
		}
	}
}
