//go:build !go1.25

package kernel

import "testing"

// bubble returns false: there are no bubbles.
func bubble(*testing.T, func()) bool { return false }
