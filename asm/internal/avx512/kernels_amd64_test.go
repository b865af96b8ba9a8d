package avx512

import "testing"

// Every number of rows is cut into tiles of 12, 8 and one of less; from 16 rows on that one
// has less than 4.
func TestGroups(t *testing.T) {
	for n := range 2000 {
		small, big, rest := groups(n)
		if small < 0 || big < 0 || rest < 0 || rest > 7 || 8*small+12*big+rest != n || n >= 16 && rest > 3 {
			t.Errorf("groups(%d) = %d of 8, %d of 12, rest %d", n, small, big, rest)
		}
	}
}
