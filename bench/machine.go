package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
)

// A machine is what a run ran on. Limits are of one goroutine, and of Workers.
type machine struct {
	CPU      string     `json:"cpu"`
	Cores    int        `json:"cores"`              // logical ones
	Caches   [3]int     `json:"caches"`             // L1 data, L2 and L3 in bytes, or -1
	MHz      float64    `json:"mhz,omitempty"`      // the highest frequency, or that of a moment, or 0: unknown
	Emulator string     `json:"emulator,omitempty"` // what emulated the CPU, so that times say nothing about it, or empty
	Features []string   `json:"features"`
	OS       string     `json:"os"`
	Arch     string     `json:"arch"`
	Go       string     `json:"go"`
	Backend  string     `json:"backend"`
	Date     time.Time  `json:"date"`
	Load     string     `json:"load"` // average of the last minute
	Workers  int        `json:"workers"`
	Peak     [2]float64 `json:"peak"` // GFLOP/s
	Read     [2]float64 `json:"read"` // GB/s, from memory
	zen4     bool
}

// lookAround describes the machine and measures its limits.
func lookAround(meter *quiet.Meter) machine {
	c, found := cpuid.CPU, thisCPU()
	m := machine{
		CPU: found.name, Cores: runtime.NumCPU(), Caches: found.caches, MHz: found.frequency, Emulator: found.emulator,
		Features: c.FeatureSet(),
		OS:       runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Backend: kernel.Backend(),
		Date: time.Now().UTC().Truncate(time.Second), Workers: runtime.GOMAXPROCS(0),
	}
	load, _ := os.ReadFile("/proc/loadavg") // Linux only
	m.Load, _, _ = strings.Cut(cmp.Or(string(load), "unknown"), " ")
	// Family 25 is Zen 3 and Zen 4, and only Zen 4 has AVX-512.
	m.zen4 = c.VendorID == cpuid.AMD && c.Family == 25 && c.Supports(cpuid.AVX512F)

	memory := random(1<<25, 1)
	for i, workers := range []int{1, m.Workers} {
		for range 200 {
			m.Peak[i] = max(m.Peak[i], meter.Probe(workers).Peak/1e9)
		}
		for range 5 {
			m.Read[i] = max(m.Read[i], quiet.ReadRate(memory, workers)/1e9)
		}
	}
	return m
}

// name is what tables and charts call the machine.
func (m machine) name() string {
	name := fmt.Sprintf("%s (%s)", m.CPU, m.Arch)
	if m.Emulator != "" {
		name = fmt.Sprintf("%s (%s, EMULATED)", m.CPU, m.Arch)
	}
	return name
}
