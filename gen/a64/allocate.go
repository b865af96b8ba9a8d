package a64

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/reg"
)

// A register is an X, a V or the flags. Numbers from virtual on are those of virtual registers.
type register struct {
	kind   reg.Kind
	number int
}

const virtual = 64

var flags = register{reg.KindGP, 32}

func (x X) register() register {
	if x < virtual && !slices.Contains(generalRegisters, x) {
		panic(fmt.Sprintf("a64: R%d is reserved or no register", int(x)))
	}
	return register{reg.KindGP, int(x)}
}

func (v V) register() register {
	if v < virtual {
		inRange("vector register", int(v), 0, 31)
	}
	return register{reg.KindVector, int(v)}
}

// avo returns the register as avo's passes see it: by its ID.
func (r register) avo() reg.Register {
	if r.number >= virtual {
		return reg.NewVirtual(reg.Index(r.number), r.kind, reg.S64)
	}
	return physical{reg.RAX, r}
}

// physical lends a register of arm64 the methods of one of amd64, which is all that avo has.
type physical struct {
	reg.Physical
	register register
}

func (p physical) ID() reg.ID     { return reg.ID(p.register.kind)<<8 | reg.ID(p.register.number)<<16 }
func (p physical) Kind() reg.Kind { return p.register.kind }
func (p physical) Asm() string {
	return fmt.Sprintf("register %d of kind %d", p.register.number, p.Kind())
}

// numbers are the physical registers of a function.
type numbers reg.Allocation

func (n numbers) of(r register) int {
	return int(reg.Allocation(n).LookupDefault(r.avo().ID()).Index())
}

// fill writes the numbers of registers into a format.
func (n numbers) fill(format string, registers []register) string {
	var args []any
	for _, r := range registers {
		args = append(args, n.of(r))
	}
	return fmt.Sprintf(format, args...)
}

// text is what stands behind an opcode.
type text string

// Asm returns it as it stands in the file.
func (t text) Asm() string { return string(t) }

func join(texts []string) operand.Op { return text(strings.Join(texts, ", ")) }

// nothing is the opcode of what is no instruction but reads registers.
const nothing = "nothing"

// finish checks the registers of a function, allocates the virtual ones and writes the operands.
func (a *Asm) finish(fn *ir.Function) error {
	if err := a.liveness(fn); err != nil {
		return err
	}
	all := fn.Instructions()
	n, err := allocate(all)
	if err != nil {
		return err
	}
	remove(fn, func(i *ir.Instruction) bool { return i.Opcode == nothing })
	for _, i := range fn.Instructions() {
		t, err := a.text[i](n)
		if err != nil {
			return err
		}
		i.Operands = nil
		if t.Asm() != "" {
			i.Operands = []operand.Op{t}
		}
	}
	return nil
}

// spare are the instructions that are dropped if nothing reads their result: unrolled loops and
// [Asm.Blocks] move a pointer or a counter on after its last use.
var spare = []string{"ADD", "AND", "LSL"}

// liveness finds out which registers are live at each instruction.
func (a *Asm) liveness(fn *ir.Function) error {
	for {
		all := fn.Instructions()
		if len(all) == 0 || !all[len(all)-1].IsTerminal {
			return errors.New("does not return")
		}
		for _, i := range all {
			i.Succ, i.Pred = nil, nil
		}
		for _, p := range []func(*ir.Function) error{pass.LabelTarget, pass.CFG, pass.Liveness} {
			if err := p(fn); err != nil {
				return err
			}
		}
		for id := range all[0].LiveIn {
			return fmt.Errorf("a register is read before it is written: %v", a.readers(all, id))
		}
		if !remove(fn, func(i *ir.Instruction) bool { return slices.Contains(spare, i.Opcode) && dead(i) }) {
			for _, i := range all {
				if dead(i) {
					return fmt.Errorf("nothing reads the result of %s", a.print(i))
				}
			}
			return nil
		}
	}
}

func remove(fn *ir.Function, which func(*ir.Instruction) bool) (some bool) {
	n := len(fn.Nodes)
	fn.Nodes = slices.DeleteFunc(fn.Nodes, func(node ir.Node) bool {
		i, ok := node.(*ir.Instruction)
		return ok && which(i)
	})
	return len(fn.Nodes) < n
}

// dead tells whether an instruction has results and nothing reads any of them.
func dead(i *ir.Instruction) bool {
	for _, r := range i.OutputRegisters() {
		if _, live := i.LiveOut[r.ID()]; live {
			return false
		}
	}
	return len(i.Outputs) > 0
}

// readers describes the instructions that read a register, for an error.
func (a *Asm) readers(all []*ir.Instruction, id reg.ID) (found []string) {
	for _, i := range all {
		for _, r := range i.InputRegisters() {
			if r.ID() == id {
				found = append(found, a.print(i))
				break
			}
		}
	}
	return found
}

// print describes an instruction before its virtual registers are allocated.
func (a *Asm) print(i *ir.Instruction) string {
	t, err := a.text[i](nil)
	if err != nil { // a word has no place for a virtual register
		return err.Error()
	}
	return i.Opcode + " " + t.Asm()
}

// allocate finds a physical register for each virtual one: a result must not have the register of
// anything that is live behind it.
func allocate(all []*ir.Instruction) (numbers, error) {
	var general, vectors []reg.Physical
	for _, x := range generalRegisters {
		general = append(general, x.register().avo().(physical))
	}
	for v := range V(32) {
		vectors = append(vectors, v.register().avo().(physical))
	}
	found := reg.NewEmptyAllocation()
	for kind, registers := range map[reg.Kind][]reg.Physical{reg.KindGP: general, reg.KindVector: vectors} {
		a, err := pass.NewAllocator(registers)
		if err != nil {
			return nil, err
		}
		for _, i := range all {
			for _, r := range i.OutputRegisters() {
				if r.Kind() != kind {
					continue
				}
				a.Add(r.ID())
				others := i.LiveOut.OfKind(kind)
				others.DiscardRegister(r)
				// Of several results none may be in the place of another, read or not.
				for _, o := range i.OutputRegisters() {
					if o.Kind() == kind && o.ID() != r.ID() {
						others.AddRegister(o)
					}
				}
				a.AddInterferenceSet(r, others)
			}
		}
		some, err := a.Allocate()
		if err != nil {
			return nil, err
		}
		if err := found.Merge(some); err != nil {
			return nil, err
		}
	}
	return numbers(found), nil
}
