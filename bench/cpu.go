package main

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// cpu is what can be found out about the processor: its name, data caches in bytes (or -1), the highest frequency in MHz (or 0),
// and what emulates it, if anything does.
type cpu struct {
	name      string
	caches    [3]int
	frequency float64
	emulator  string
}

// thisCPU asks the processor itself, and on arm64, where programs cannot, the operating system.
func thisCPU() cpu {
	c := cpuid.CPU
	found := cpu{name: strings.TrimSpace(c.BrandName), caches: [3]int{c.Cache.L1D, c.Cache.L2, c.Cache.L3}}
	switch runtime.GOOS {
	case "linux":
		found.askLinux("/")
	case "darwin":
		found.askDarwin(func(key string) string {
			out, _ := exec.Command("sysctl", "-n", key).Output() // empty where there is no such key
			return strings.TrimSpace(string(out))
		})
	}
	if strings.Contains(found.name, "QEMU TCG") {
		found.emulator = "QEMU"
	}
	found.name = cmp.Or(found.name, "unknown CPU")
	return found
}

// coreNames are the names of cores, by the implementer and the part that Linux reads from arm64's register MIDR_EL1.
var coreNames = map[string]string{
	"0x41 0xd03": "Cortex-A53", "0x41 0xd05": "Cortex-A55", "0x41 0xd07": "Cortex-A57", "0x41 0xd08": "Cortex-A72",
	"0x41 0xd0b": "Cortex-A76", "0x41 0xd41": "Cortex-A78", "0x41 0xd44": "Cortex-X1",
	"0x41 0xd0c": "Neoverse N1", "0x41 0xd40": "Neoverse V1", "0x41 0xd49": "Neoverse N2", "0x41 0xd4f": "Neoverse V2",
	"0x41 0xd8e": "Neoverse N3", "0x41 0xd84": "Neoverse V3",
	"0x46 0x001": "Fujitsu A64FX", "0x48 0xd01": "HiSilicon TSV110", "0x51 0x001": "Qualcomm Oryon",
	"0x61 0x022": "Apple M1 (Icestorm)", "0x61 0x023": "Apple M1 (Firestorm)", "0xc0 0xac3": "Ampere-1", "0xc0 0xac4": "Ampere-1A",
}

var cpuinfoLine = regexp.MustCompile(`(?m)^([^\t:]+?)\s*: (.*)$`)

// askLinux reads what the files of Linux under root say where c does not say it yet.
func (c *cpu) askLinux(root string) {
	read := func(path ...string) string {
		b, _ := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		return strings.TrimSpace(string(b))
	}
	info := map[string]string{} // of the last core, which is a big one where there are two kinds
	for _, m := range cpuinfoLine.FindAllStringSubmatch(read("proc", "cpuinfo"), -1) {
		info[m[1]] = m[2]
	}
	if implementer := info["CPU implementer"]; implementer != "" {
		id := implementer + " " + info["CPU part"]
		c.name = cmp.Or(c.name, coreNames[id], "arm64 CPU "+id)
	} else if info["vendor_id"] != "" && c.name == "" {
		c.emulator = "an emulator on " + info["model name"] // whose file shines through
	}
	sysfs := filepath.Join("sys", "devices", "system", "cpu", "cpu0")
	for _, index := range []string{"index0", "index1", "index2", "index3"} {
		level, _ := strconv.Atoi(read(sysfs, "cache", index, "level"))
		kib, err := strconv.Atoi(strings.TrimSuffix(read(sysfs, "cache", index, "size"), "K"))
		if err == nil && 1 <= level && level <= 3 && c.caches[level-1] <= 0 && read(sysfs, "cache", index, "type") != "Instruction" {
			c.caches[level-1] = kib << 10
		}
	}
	khz, _ := strconv.ParseFloat(read(sysfs, "cpufreq", "cpuinfo_max_freq"), 64)
	mhz, _ := strconv.ParseFloat(info["cpu MHz"], 64) // of this moment
	c.frequency = cmp.Or(khz/1000, mhz)
}

// askDarwin does so with the values that sysctl has by name; perflevel0 are the fast cores.
func (c *cpu) askDarwin(sysctl func(key string) string) {
	c.name = cmp.Or(sysctl("machdep.cpu.brand_string"), c.name)
	for i, key := range []string{"l1dcachesize", "l2cachesize", "l3cachesize"} {
		n, err := strconv.Atoi(cmp.Or(sysctl("hw.perflevel0."+key), sysctl("hw."+key)))
		if err == nil && c.caches[i] <= 0 {
			c.caches[i] = n
		}
	}
	hz, _ := strconv.ParseFloat(sysctl("hw.cpufrequency_max"), 64) // Apple's own do not tell
	c.frequency = hz / 1e6
	if sysctl("sysctl.proc_translated") == "1" {
		c.emulator = "Rosetta"
	}
}
