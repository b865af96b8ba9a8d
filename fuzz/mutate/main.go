// Command mutate asks whether the tests would notice a mistake in the Go code. It turns one operator or comparison at a time into
// its neighbour, runs the tests that meet it, and reports how many of these mutants they kill and which ones survive.
//
//	go run ./fuzz/mutate generic fuzz
//	go run ./fuzz/mutate -n 300 -seed 2 kernel      300 of the mutants, drawn at random
//
// Each argument is a directory, with those below it. All its mutants are in one build, an overlay of the go command, and the
// environment says which one is at work; the source tree is not touched. Each test of these packages is run once to see which
// mutants it meets; one that fails by itself is left out. A mutant meets the tests of its own package first, then those of the others,
// the quickest first.
//
// Mutated are +, -, *, /, % and a minus sign, also of constants, ++ and --, and comparisons: into their opposite, and those of order
// also at their limit, but for floating-point numbers, of which next to none is the limit, and there both ways most often
// compute the same. A mutant that takes ten times as long as its tests counts neither as killed nor as alive.
//
// Some mutants compute the same all the same, or only take another time. So less than all is wanted, and the others are read: one
// that is different wants a test.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/selfattn/attn/fuzz/mutate/choice"
)

func main() {
	n := flag.Int("n", 0, "number of mutants of each directory, 0 for all")
	seed := flag.Uint64("seed", 1, "which ones")
	jobs := flag.Int("j", 2, "tests at a time")
	want := flag.Float64("want", 0, "percentage of the mutants that tests meet to be killed, or else exit with 1")
	covered := flag.Float64("covered", 0, "percentage of all mutants to be met, likewise")
	var skip *regexp.Regexp
	flag.Func("skip", "tests left out, a regular expression", func(s string) (err error) {
		skip, err = regexp.Compile(s)
		return err
	})
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	for _, dir := range flag.Args() {
		r, err := mutate(dir, *n, *seed, *jobs, skip)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %v\n", dir, r)
		if judged := r.killed + r.lived; percent(r.killed, judged) < *want || percent(r.met, r.all) < *covered || r.late > judged {
			log.Fatalf("%s: want %g%% killed, %g%% met by tests, and most of them not late", dir, *want, *covered)
		}
	}
}

// A result counts mutants: all, those that some test meets, and how those that were tried ended.
type result struct{ all, met, killed, lived, late int }

func (r result) String() string {
	return fmt.Sprintf("%d of %d mutants killed, %.1f%% (%d late); tests meet %d of %d, %.1f%%", r.killed, r.killed+r.lived,
		percent(r.killed, r.killed+r.lived), r.late, r.met, r.all, percent(r.met, r.all))
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(1, of)) }

// mutate tries the mutants of a directory.
func mutate(dir string, n int, seed uint64, jobs int, skip *regexp.Regexp) (r result, err error) {
	temp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(temp)
	packages, mutants, err := prepare(dir, temp)
	if err != nil {
		return r, err
	}
	s := &suite{temp: temp, skip: skip, mutants: len(mutants)}
	for _, p := range packages {
		if err := s.build(p); err != nil {
			return r, err
		}
	}
	if err := s.measure(jobs); err != nil {
		return r, err
	}
	r.all = len(mutants)
	mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return len(s.meets(m)) == 0 })
	if r.met = len(mutants); n > 0 && n < len(mutants) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(mutants), func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
		mutants = mutants[:n]
	}
	var mutex sync.Mutex
	tell := progress(dir+": mutants", len(mutants))
	err = each(jobs, mutants, func(m mutant) error {
		end, err := s.try(m)
		mutex.Lock()
		defer mutex.Unlock()
		switch end {
		case killed:
			r.killed++
		case lived:
			r.lived++
			fmt.Printf("survived: %v\n", m)
		case late:
			r.late++
		}
		tell(fmt.Sprintf(", %d survived", r.lived))
		return err
	})
	return r, err
}

// progress returns what is called when one of all things is done, and says every ten seconds how many are.
func progress(things string, all int) (tell func(more string)) {
	var mutex sync.Mutex
	done, begun, told := 0, time.Now(), time.Now()
	return func(more string) {
		mutex.Lock()
		defer mutex.Unlock()
		if done++; time.Since(told) > 10*time.Second {
			told = time.Now()
			left := time.Since(begun) / time.Duration(done) * time.Duration(all-done)
			fmt.Fprintf(os.Stderr, "%s: %d of %d%s, %v left\n", things, done, all, more, left.Round(time.Second))
		}
	}
}

// each calls f with each of some things, jobs at a time, and returns its first error.
func each[T any](jobs int, of []T, f func(T) error) (err error) {
	var wait sync.WaitGroup
	var mutex sync.Mutex
	next := make(chan T)
	for range jobs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for x := range next {
				if e := f(x); e != nil {
					mutex.Lock()
					err = cmp.Or(err, e)
					mutex.Unlock()
				}
			}
		}()
	}
	for _, x := range of {
		next <- x
	}
	close(next)
	wait.Wait()
	return err
}

// A suite is the tests of some packages, built with their mutants.
type suite struct {
	temp    string
	skip    *regexp.Regexp // tests left out, or nil
	mutants int
	tests   []*test
}

// A test is one of a test binary.
type test struct {
	name, binary, pkg, dir string
	met                    []byte        // 1 for each mutant that it meets
	used                   time.Duration // of the processor
}

// build builds the tests of a package and lists them.
func (s *suite) build(p *pkg) error {
	if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
		return nil
	}
	binary := filepath.Join(s.temp, strings.ReplaceAll(p.ImportPath, "/", "-"))
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay="+filepath.Join(s.temp, overlay), "-o", binary, p.ImportPath)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.ImportPath, err, out)
	}
	list := exec.Command(binary, "-test.list=^(Test|Example|Fuzz)")
	list.Dir = p.Dir
	out, err := list.Output()
	for _, name := range strings.Fields(string(out)) {
		if s.skip == nil || !s.skip.MatchString(name) {
			s.tests = append(s.tests, &test{name: name, binary: binary, pkg: p.ImportPath, dir: p.Dir})
		}
	}
	return err
}

// measure runs each test by itself, for the mutants that it meets and the time that it takes.
func (s *suite) measure(jobs int) error {
	tell := progress("tests", len(s.tests))
	return each(jobs, s.tests, func(t *test) error {
		path := filepath.Join(s.temp, filepath.Base(t.binary)+"."+t.name)
		t.met = make([]byte, s.mutants+1)
		if err := os.WriteFile(path, t.met, 0o600); err != nil {
			return err
		}
		defer tell("")
		var err error
		if t.used, err = s.run([]*test{t}, 0, choice.Record+"="+path); err != nil {
			log.Printf("%s is left out, as it fails without a mutant: %v", t.name, err)
			return nil
		}
		t.met, err = os.ReadFile(path)
		return err
	})
}

// run runs tests of one binary, up to a limit of processor time if it is not 0: time on the clock would also count that of others.
func (s *suite) run(tests []*test, limit time.Duration, env string) (used time.Duration, err error) {
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
	}
	args := []string{tests[0].binary, "-test.short", "-test.failfast", "-test.timeout=5m", "-test.run=^(" + strings.Join(names, "|") + ")$"}
	if limit > 0 {
		args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -t %d; exec "$@"`, int(limit.Seconds())), "sh"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = tests[0].dir, append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil { // it has not begun
		return 0, err
	}
	if err != nil {
		const most = 2000
		err = fmt.Errorf("%w\n%s", err, out[max(0, len(out)-most):])
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
}

// meets returns the tests that meet a mutant, those of its package first, and then the quickest.
func (s *suite) meets(m mutant) (tests []*test) {
	for _, t := range s.tests {
		if t.met[m.id] == 1 {
			tests = append(tests, t)
		}
	}
	slices.SortFunc(tests, func(a, b *test) int {
		if own := a.pkg == m.pkg; own != (b.pkg == m.pkg) {
			if own {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.pkg, b.pkg), cmp.Compare(a.used, b.used))
	})
	return tests
}

// An end is that of a mutant.
type end int

const (
	lived end = iota
	killed
	late // neither: it ran ten times as long as its tests
)

// try runs the tests that meet a mutant, some at a time, until it is killed.
func (s *suite) try(m mutant) (end, error) {
	for tests := s.meets(m); len(tests) > 0; {
		n, expected := 0, time.Duration(0)
		for n < len(tests) && tests[n].binary == tests[0].binary && (n == 0 || expected+tests[n].used < time.Second) {
			expected += tests[n].used
			n++
		}
		limit := 10*time.Second + 10*expected
		used, err := s.run(tests[:n], limit, fmt.Sprintf("%s=%d", choice.Mutant, m.id))
		switch {
		case err != nil && used >= limit-time.Second:
			return late, nil
		case err != nil:
			return killed, nil
		}
		tests = tests[n:]
	}
	return lived, nil
}

// prepare writes the mutated files of a directory and the packages below it, and the overlay, to temp.
func prepare(dir, temp string) (packages []*pkg, mutants []mutant, err error) {
	packages, load, err := list(dir)
	if err != nil {
		return nil, nil, err
	}
	replace := map[string]string{}
	for _, p := range packages {
		files, err := load(p)
		if err != nil {
			return nil, nil, err
		}
		for _, f := range files {
			to := filepath.Join(temp, fmt.Sprintf("%d.go", len(replace)))
			replace[f.path] = to
			if err := os.WriteFile(to, f.mutate(&mutants), 0o600); err != nil {
				return nil, nil, err
			}
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(temp, overlay), data, 0o600)
	}
	return packages, mutants, err
}

// overlay is the file that tells the go command of the mutated ones.
const overlay = "overlay.json"
