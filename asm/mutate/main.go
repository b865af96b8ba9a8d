// Command mutate asks whether the tests would notice. It changes one operation, constant, offset,
// register or branch of the assembly at a time, runs the tests that should fail, and reports how
// many of these mutants they kill and which ones survive.
//
//	go run ./asm/mutate -n 300 -seed 1
//	go run ./asm/mutate -n 60 -arch arm64     under qemu-aarch64-static on another machine
//	go run ./asm/mutate -n 20 -arch arm64 -only gradient -tests Gradient     seconds each
//
// The source tree is not touched: a mutant is an overlay of the go command. Mutants are drawn in
// turn from all functions of all instruction sets, so that the short ones count as much as the long
// ones, and the same seed draws the same mutants. One that does not assemble is drawn anew.
//
// Left alone are changes that could change no result, and those that a test of the sources forbids,
// as that one does not see an overlay:
//
//   - prefetches, the arguments, registers and branches that serve nothing else (by data flow), and alignment;
//   - the register that an argument is loaded into, as the one left out may hold it by chance;
//   - VZEROUPPER and RET, which a test of asm/asmtest demands of every function;
//   - bits of a mask that no instruction looks at;
//   - the loops of limit_*.s, which only take time.
//
// Some mutants still compute the same: a block that leaves its last round to the loop of single vectors
// behind it, a tail that runs for no element, a load of what a register holds already. So 97% are wanted,
// and the others are read: one that is different wants a test, and code that makes no difference had
// better go.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
)

func main() {
	n := flag.Int("n", 300, "number of mutants")
	seed := flag.Uint64("seed", 1, "what is drawn")
	arch := flag.String("arch", runtime.GOARCH, "amd64 or arm64")
	only := flag.String("only", "", "mutate the files whose path contains this")
	tests := flag.String("tests", "", "run only the tests whose name matches this regexp")
	jobs := flag.Int("j", 2, "mutants tested at a time")
	want := flag.Float64("want", 0.97, "fraction to be killed, or else exit with 1")
	flag.Parse()
	log.SetFlags(0)

	isas := map[string][]string{"amd64": {"avx2", "avx512"}, "arm64": {"neon"}}[*arch]
	if isas == nil {
		log.Fatalf("mutate: no assembly for %s", *arch)
	}
	var files []file
	for _, isa := range isas {
		if !supported(isa) {
			log.Printf("%s: NOT mutated, this machine does not have it", isa)
			continue
		}
		paths, err := filepath.Glob(filepath.Join("asm", "internal", isa, "*_"+*arch+".s"))
		if err != nil {
			log.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasPrefix(filepath.Base(path), "limit_") || !strings.Contains(path, *only) {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				log.Fatal(err)
			}
			files = append(files, newFile(isa, path, string(text)))
		}
	}
	if len(files) == 0 {
		log.Fatal("mutate: no assembly to mutate; run it in the root of the repository")
	}
	suites := map[string]*suite{}
	for _, f := range files {
		if suites[f.isa] == nil {
			s, err := newSuite(f.isa, *arch, *tests)
			if err != nil {
				log.Fatalf("mutate: %v", err)
			}
			suites[f.isa] = s
		}
	}
	results := run(newDeck(rand.New(rand.NewPCG(*seed, 0)), files), suites, *n, *jobs)
	if rate := report(results); rate < *want {
		log.Fatalf("mutate: %.1f%% killed, want %.0f%%", 100*rate, 100**want)
	}
}

// supported reports whether this machine, or an emulator, has an instruction set.
func supported(isa string) bool {
	i := slices.IndexFunc(asmtest.Impls, func(x asmtest.Impl) bool { return x.Name == isa })
	return i < 0 || asmtest.Impls[i].Supported
}

// A result is a mutant and the stage of the tests that killed it, "" if it survived.
type result struct {
	mutant
	killer string
}

// run tests n mutants from d, some at a time.
func run(d *deck, suites map[string]*suite, n, jobs int) []result {
	var (
		mutex    sync.Mutex
		wait     sync.WaitGroup
		results  []result
		started  int
		survived int
		start    = time.Now()
	)
	// take draws a mutant, unless there are enough.
	take := func() (m mutant, ok bool) {
		mutex.Lock()
		defer mutex.Unlock()
		if started >= n {
			return m, false
		}
		if m, ok = d.draw(); ok {
			started++
		}
		return m, ok
	}
	for range jobs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for {
				m, ok := take()
				if !ok {
					return
				}
				killer, err := suites[m.isa].test(m)
				mutex.Lock()
				if err != nil { // another one takes its place
					started--
					mutex.Unlock()
					continue
				}
				results = append(results, result{m, killer})
				if killer == "" {
					survived++
					log.Printf("\r\x1b[Ksurvived: %v", m)
				}
				left := time.Since(start) / time.Duration(len(results)) * time.Duration(n-len(results))
				fmt.Fprintf(os.Stderr, "\r\x1b[K%d of %d mutants: %d killed, %d survived, %v left", len(results), n,
					len(results)-survived, survived, left.Round(time.Second))
				mutex.Unlock()
			}
		}()
	}
	wait.Wait()
	fmt.Fprintln(os.Stderr)
	return results
}

// report prints the kill rates and the survivors, and returns the rate of all.
func report(results []result) float64 {
	type count struct{ killed, all int }
	byFile, byKernel, byChange, byKiller := map[string]count{}, map[string]count{}, map[string]count{}, map[string]int{}
	add := func(m map[string]count, key string, killed int) {
		c := m[key]
		m[key] = count{c.killed + killed, c.all + 1}
	}
	var total count
	var survivors []mutant
	for _, r := range results {
		killed := 1
		if r.killer == "" {
			killed = 0
			survivors = append(survivors, r.mutant)
		} else {
			byKiller[r.killer]++
		}
		total = count{total.killed + killed, total.all + 1}
		add(byFile, r.path, killed)
		add(byKernel, r.kernel, killed)
		add(byChange, r.change, killed)
	}
	table := func(title string, m map[string]count) {
		fmt.Printf("| %s | mutants | killed |\n|---|---|---|\n", title)
		for _, key := range slices.Sorted(maps.Keys(m)) {
			fmt.Printf("| %s | %d | %.1f%% |\n", key, m[key].all, 100*float64(m[key].killed)/float64(m[key].all))
		}
		fmt.Println()
	}
	table("file", byFile)
	table("kernel", byKernel)
	table("change", byChange)
	for _, killer := range slices.Sorted(maps.Keys(byKiller)) {
		fmt.Printf("killed by %s: %d\n", killer, byKiller[killer])
	}
	slices.SortFunc(survivors, func(a, b mutant) int {
		return cmp.Or(strings.Compare(a.path, b.path), a.line-b.line)
	})
	for _, m := range survivors {
		fmt.Printf("survived: %v\n", m)
	}
	if total.all == 0 {
		return 0
	}
	rate := float64(total.killed) / float64(total.all)
	fmt.Printf("%d of %d mutants killed, %.1f%%\n", total.killed, total.all, 100*rate)
	return rate
}
