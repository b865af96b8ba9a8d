package avx2

import "testing"

// Every number of rows is cut into tiles of 6, 5 and one of less; none is left over, and
// the slow small tile is needed for few numbers only.
func TestGroups(t *testing.T) {
	for n := range 2000 {
		fives, sixes, rest := groups(n)
		if fives < 0 || sixes < 0 || rest < 0 || rest > 4 || 5*fives+6*sixes+rest != n || n >= 20 && rest != 0 {
			t.Errorf("groups(%d) = %d fives, %d sixes, rest %d", n, fives, sixes, rest)
		}
	}
}
