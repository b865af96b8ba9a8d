package main

import (
	"bufio"
	"cmp"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
)

// A machine is what a run ran on. Limits are of one goroutine, and of Workers.
type machine struct {
	CPU     string     `json:"cpu"`
	OS      string     `json:"os"`
	Arch    string     `json:"arch"`
	Go      string     `json:"go"`
	Backend string     `json:"backend"`
	Date    time.Time  `json:"date"`
	Load    string     `json:"load"` // average of the last minute
	Workers int        `json:"workers"`
	Peak    [2]float64 `json:"peak"` // GFLOP/s
	Read    [2]float64 `json:"read"` // GB/s, from memory
	zen4    bool
}

// lookAround describes the machine and measures its limits.
func lookAround(meter *quiet.Meter) machine {
	m := machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Backend: kernel.Backend(),
		Date: time.Now(), Workers: min(2, runtime.GOMAXPROCS(0)),
	}
	info := cpuInfo()
	m.CPU = cmp.Or(info["model name"], "unknown CPU")
	load, _ := os.ReadFile("/proc/loadavg") // Linux only
	m.Load, _, _ = strings.Cut(cmp.Or(string(load), "unknown"), " ")
	// Family 25 is Zen 3 and Zen 4, and only Zen 4 has AVX-512.
	family := info["vendor_id"] + " " + info["cpu family"]
	m.zen4 = family == "AuthenticAMD 25" && strings.Contains(info["flags"], " avx512f ")

	memory := random(1 << 25)
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

// cpuInfo returns the first processor of /proc/cpuinfo, or nothing where there is none.
func cpuInfo() map[string]string {
	info := map[string]string{}
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return info
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan() && lines.Text() != ""; {
		key, value, _ := strings.Cut(lines.Text(), ":")
		info[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return info
}
