package main

import (
	"cmp"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/selfattn/attn/bench/internal/emulate"
	"github.com/selfattn/attn/bench/internal/modelled"
)

// What the estimate of a whole attention assumes beside llvm-mca's tables.
const (
	often        = 2e-3 // of all instructions: a path with less is not given to llvm-mca,
	restPerCycle = 2    // and starts so many in a cycle

	// A line of 64 bytes keeps the way from L2 to L1 busy for 2 cycles, and that from beyond L2 for 8.
	lineFromL2     = 2
	lineFromBeyond = 8
)

// A server is a CPU whose attention is estimated, with the data caches of a core.
type server struct {
	cpu    string // in sets
	ghz    float64
	where  string
	caches [2]emulate.Cache
}

var (
	arm     = [2]emulate.Cache{{Bytes: 64 << 10, Ways: 4}, {Bytes: 1 << 20, Ways: 8}}
	servers = []struct {
		emulate.Machine
		cpus []server
	}{
		{emulate.AVX2, []server{{measurable, 3.7, "EPYC", [2]emulate.Cache{{Bytes: 32 << 10, Ways: 8}, {Bytes: 1 << 20, Ways: 8}}}}},
		{emulate.NEON, []server{
			{"neoverse-n1", 2.5, "Graviton2", arm}, {"neoverse-n2", 3.4, "Cobalt 100", arm}, {"neoverse-v1", 2.6, "Graviton3", arm},
			{"neoverse-v2", 2.8, "Graviton4", [2]emulate.Cache{arm[0], {Bytes: 2 << 20, Ways: 8}}},
		}},
	}
)

// lengths are the tokens of the attention that is estimated, as command count names its work, of one head of headDim.
var lengths = []int{512, 2048}

const headDim = 64

// An estimate is of one attention on one core.
type estimate struct {
	instructions float64
	modelled     float64 // the share of them that llvm-mca was given
	peak         float64 // cycles of the multiply-adds alone
	compute      float64 // cycles, if every load is a hit in L1
	fetch        float64 // cycles in which lines come from L2, and from beyond it
}

// fractions are of the FMA peak: if nothing is computed while lines come, and if all of it is.
func (e estimate) fractions() (least, most float64) {
	return e.peak / (e.compute + e.fetch), e.peak / max(e.compute, e.fetch)
}

// steady is what the second of two calls does: the difference of a program with two and one with one.
func steady(one, two emulate.Counts) (d emulate.Counts) {
	runs := map[emulate.Block]float64{} // of blocks without theirs
	for i, c := range []emulate.Counts{one, two} {
		for _, b := range c.Blocks {
			n := b.Runs
			b.Runs = 0
			runs[b] += n * float64(2*i-1)
		}
	}
	for b, n := range runs {
		if b.Runs = n; n > 0 {
			d.Blocks = append(d.Blocks, b)
		}
	}
	slices.SortFunc(d.Blocks, func(a, b emulate.Block) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Instructions, b.Instructions))
	})
	for i := range two.Misses {
		d.Misses = append(d.Misses, two.Misses[i]-one.Misses[i])
	}
	return d
}

// A path is blocks that run one after the other and as often, such as a loop with the branches that it takes mostly.
type path []emulate.Block

func (p path) instructions() (n float64) {
	for _, b := range p {
		n += float64(b.Instructions)
	}
	return n
}

// paths joins blocks, in order of their addresses: one follows another that is close before it, in the same function, and that
// runs as often, within a tenth. What is between them is skipped mostly.
func paths(blocks []emulate.Block) (all []path) {
	const within, recent = 1 << 10, 4 // bytes between starts, and paths
next:
	for _, b := range blocks {
		for i := len(all) - 1; i >= max(0, len(all)-recent); i-- {
			last := all[i][len(all[i])-1]
			if last.Function == b.Function && b.Address-last.Address < within && b.Runs > 0.9*last.Runs && b.Runs < 1.1*last.Runs {
				all[i] = append(all[i], b)
				continue next
			}
		}
		all = append(all, path{b})
	}
	return all
}

// estimated estimates an attention that did c, whose multiply-adds alone take peak cycles. cycles returns those of a round of a path.
func estimated(c emulate.Counts, peak float64, cycles func(path) (float64, error)) (e estimate, err error) {
	e.peak, e.fetch = peak, lineFromL2*c.Misses[0]+lineFromBeyond*c.Misses[1]
	for _, b := range c.Blocks {
		e.instructions += b.Runs * float64(b.Instructions)
	}
	for _, p := range paths(c.Blocks) {
		n := p[0].Runs * p.instructions()
		round := p.instructions() / restPerCycle
		if n >= often*e.instructions {
			e.modelled += n / e.instructions
			if round, err = cycles(p); err != nil {
				return e, err
			}
		}
		e.compute += p[0].Runs * round
	}
	return e, nil
}

// loop disassembles a path. Its branches go to its start.
func (l llvm) loop(binary string, p path) ([]string, error) {
	loop := []string{"loop:"}
	for _, b := range p {
		text, err := emulate.Output(exec.Command(l.objdump, "-d", "--no-show-raw-insn", fmt.Sprintf("--start-address=%#x", b.Address),
			fmt.Sprintf("--stop-address=%#x", b.Address+15*uint64(b.Instructions)), binary)) // the longest instruction has 15 bytes
		if err != nil {
			return nil, err
		}
		lines := instruction.FindAllStringSubmatch(text, b.Instructions)
		if len(lines) < b.Instructions {
			return nil, fmt.Errorf("%s: no %d instructions at %#x", b.Function, b.Instructions, b.Address)
		}
		for _, m := range lines {
			loop = append(loop, target.ReplaceAllString(m[2]+" "+m[3], "loop"))
		}
	}
	return loop, nil
}

// attentions estimates those of all servers, or of one CPU. With the command of OSACA by its cycles too, where it knows the CPU.
func (l llvm) attentions(dir, only, second string, lengths []int) (all []modelled.Attention, err error) {
	for _, m := range servers {
		s := sets[slices.IndexFunc(sets, func(s set) bool { return s.name == m.Backend })]
		chosen := slices.DeleteFunc(slices.Clone(m.cpus), func(v server) bool { return only != "" && v.cpu != only })
		if len(chosen) == 0 {
			continue
		}
		program, err := m.Build(dir)
		if err != nil {
			return nil, err
		}
		type work struct {
			tokens int
			caches [2]emulate.Cache
		}
		counted := map[work]emulate.Counts{}
		loops := map[string][]string{} // of paths
		for _, v := range chosen {
			c := s.cpus[slices.IndexFunc(s.cpus, func(c cpu) bool { return c.name == v.cpu })]
			for _, tokens := range lengths {
				this := work{tokens, v.caches}
				if _, ok := counted[this]; !ok {
					if counted[this], err = call(program, tokens, v.caches[:]); err != nil {
						return nil, err
					}
				}
				estimate := func(cycles func(loop []string) (float64, error)) (estimate, error) {
					peak := 2 * float64(tokens*tokens*headDim) / m.Lanes / c.fmas
					return estimated(counted[this], peak, func(p path) (float64, error) {
						key := fmt.Sprint(p)
						if loops[key] == nil {
							if loops[key], err = l.loop(program.Binary, p); err != nil {
								return 0, err
							}
						}
						return cycles(loops[key])
					})
				}
				e, err := estimate(func(loop []string) (float64, error) {
					cycles, _, err := l.simulate(s, c, loop)
					return cycles, err
				})
				if err != nil {
					return nil, err
				}
				a := modelled.Attention{Set: s.name, CPU: v.cpu, Where: v.where, GHz: v.ghz, Tokens: tokens, Dim: headDim, Peak: 2 * m.Lanes * c.fmas * v.ghz,
					Instructions: e.instructions, Modelled: e.modelled, FromL2: counted[this].Misses[0], Beyond: counted[this].Misses[1], Compute: e.peak / e.compute}
				a.Least, a.Most = e.fractions()
				if arch := osacaNames[c.name]; second != "" && arch != "" {
					o, err := estimate(func(loop []string) (float64, error) {
						text, err := osaca(second, arch, filepath.Join(dir, "path.s"), loop)
						cycles, unknown, ok := osacaCycles(text)
						a.Unknown = a.Unknown || unknown || !ok
						return cycles, err
					})
					if err != nil {
						return nil, err
					}
					a.OSACA = o.peak / o.compute
				}
				all = append(all, a)
			}
		}
	}
	return all, nil
}

// printAttentions prints the table of whole attentions.
func printAttentions(out io.Writer, all []modelled.Attention) error {
	fmt.Fprintf(out, "\nAn estimate, not a measurement: attention of one head of %d on one core, as fractions of the FMA peak.\n\n", headDim)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "set\tCPU\ttokens\tinstructions\tmodelled\tlines from L2\tfrom beyond\tcomputing alone\tand fetching\tGFLOP/s\tmeasured")
	for _, a := range all {
		fmt.Fprintf(table, "%s\t%s\t%d\t%.1fM\t%.2f\t%.0f\t%.0f\t%.2f%s\t%.2f to %.2f\t%s (%s, %g GHz)\t%s\n", a.Set, a.CPU, a.Tokens, a.Instructions/1e6, a.Modelled,
			a.FromL2, a.Beyond, a.Compute, modelled.Bracket(a.OSACA, a.Unknown), a.Least, a.Most, a.Range(), a.Where, a.GHz, a.Check())
	}
	return table.Flush()
}

// call counts what an attention does whose operands are where the one before left them.
func call(p *emulate.Program, tokens int, caches []emulate.Cache) (c emulate.Counts, err error) {
	var counts [2]emulate.Counts
	for i, work := range []string{"%d tokens", "%d tokens twice"} {
		if counts[i], err = p.Run(fmt.Sprintf(work, tokens), caches...); err != nil {
			return c, err
		}
	}
	return steady(counts[0], counts[1]), nil
}
