package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Linux and macOS say of a CPU of arm64 is found, and a file that shines through an emulator is noticed.
func TestCPU(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, filepath.FromSlash(path))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o666))
	}
	const sysfs = "sys/devices/system/cpu/cpu0/"
	write("proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd40\n")
	for index, text := range map[string][3]string{"index0": {"1", "Data", "64K"}, "index1": {"1", "Instruction", "32K"}, "index2": {"2", "Unified", "1024K"}} {
		for i, name := range []string{"level", "type", "size"} {
			write(sysfs+"cache/"+index+"/"+name, text[i])
		}
	}
	write(sysfs+"cpufreq/cpuinfo_max_freq", "2600000")
	c := cpu{caches: [3]int{-1, -1, -1}}
	c.askLinux(root)
	require.Equal(t, cpu{name: "Neoverse V1", caches: [3]int{64 << 10, 1 << 20, -1}, frequency: 2600}, c)

	write("proc/cpuinfo", "CPU implementer\t: 0x99\nCPU part\t: 0x001\n")
	c = cpu{}
	c.askLinux(root)
	require.Equal(t, "arm64 CPU 0x99 0x001", c.name)

	write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 3700.5\n")
	c = cpu{}
	c.askLinux(root)
	require.Equal(t, "an emulator on AMD EPYC", c.emulator)
	c = cpu{name: "AMD EPYC"}
	c.askLinux(root)
	require.Empty(t, c.emulator)

	c = cpu{}
	c.askDarwin(func(key string) string {
		return map[string]string{"machdep.cpu.brand_string": "Apple M1", "hw.perflevel0.l1dcachesize": "131072", "hw.l1dcachesize": "65536", "hw.l2cachesize": "4194304"}[key]
	})
	require.Equal(t, cpu{name: "Apple M1", caches: [3]int{128 << 10, 4 << 20, 0}}, c)
	require.Positive(t, thisCPU().caches[0], "of the machine that tests")
}
