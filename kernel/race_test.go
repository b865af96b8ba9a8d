//go:build race

package kernel

// raceEnabled: pools drop values at random under the race detector, so allocations cannot be counted.
const raceEnabled = true
