package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A mutant is a line of assembly in another form.
type mutant struct {
	isa, path, kernel string
	line              int // from 1
	change            string
	before, after     string
	text              string // of the whole file
}

func (m mutant) String() string {
	clean := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return fmt.Sprintf("%s:%d %s, %s: %s -> %s", m.path, m.line, m.kernel, m.change, clean(m.before), clean(m.after))
}

// A file is assembly, cut into functions, each with the lines that may be mutated.
type file struct {
	isa, path string
	lines     []string
	functions []function
}

type function struct {
	name      string
	sites     []int // of lines
	registers []string
}

var (
	heading = regexp.MustCompile(`^TEXT ·(\w+)\(SB\)`)
	data    = regexp.MustCompile(`^DATA (\w+)<>`)
	// A vector is also named by its length or its element: V3.S4, F3. WORDs have registers of their own.
	named = regexp.MustCompile(`\b([XYZKVFR]\d+|[ABCD]X|[SD]I)\b`)
)

// newFile finds the sites of a file. Its tables of constants count as one more function.
func newFile(isa, path, text string) file {
	f := file{isa: isa, path: path, lines: strings.Split(text, "\n")}
	tables := function{name: "tables"}
	for i, line := range f.lines {
		if data.MatchString(line) {
			tables.sites = append(tables.sites, i)
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			n := 1 + slices.IndexFunc(f.lines[i:], func(line string) bool { return split(line) == "RET" })
			f.functions = append(f.functions, newFunction(m[1], f.lines[i:i+n], i))
		}
	}
	if len(tables.sites) > 0 {
		f.functions = append(f.functions, tables)
	}
	return f
}

// newFunction finds the sites of a function, whose first line is number first of its file.
func newFunction(name string, lines []string, first int) function {
	in := function{name: name}
	prefetches := prefetching(lines, hints[name])
	for i, line := range lines {
		code, _, _ := strings.Cut(line, "//")
		in.registers = append(in.registers, named.FindAllString(code, -1)...)
		if strings.HasPrefix(line, "\t") && !prefetches[i] && !fixed.MatchString(line) {
			in.sites = append(in.sites, first+i)
		}
	}
	slices.Sort(in.registers)
	in.registers = slices.Compact(in.registers)
	return in
}

var (
	fixed    = regexp.MustCompile(`^\t(PREFETCH\w+|PRFM|PCALIGN|VZEROUPPER|RET)\b`)
	leaves   = regexp.MustCompile(`^\t(VZEROUPPER|RET)\b`)
	operand  = regexp.MustCompile(`\b(\w+)\+\d+\(FP\)`) // an argument
	general  = regexp.MustCompile(`\b(R\d+|[ABCD]X|[SD]I)\b`)
	moves    = regexp.MustCompile(`^\t(?:MOVQ|LEAQ|ADDQ|MOVD|ADD) .*, (R\d+|[ABCD]X|[SD]I)$`) // they only set a register
	asks     = regexp.MustCompile(`^\t(?:J[A-Z]+|SET[A-Z]+|CMOV[A-Z]+) `)                     // for the flags of amd64
	compares = regexp.MustCompile(`^\t(?:CMP|TEST|SUB|ADD|DEC|AND|XOR|SHL|SHR)`)              // sets them
)

// prefetching reports which lines of a function serve prefetches alone: those that name an argument
// which only says where, one of hints, those that set a register that nothing but such lines will read, and branches
// around such lines.
func prefetching(lines, hints []string) []bool {
	const flags = "flags" // counts as a register: ADDQ may be there for it
	labels := map[string]int{}
	for i, line := range lines {
		labels[strings.TrimSuffix(line, ":")] = i
	}
	target := func(line string) (i int, ok bool) {
		if !isBranch(split(line)) {
			return 0, false
		}
		all := strings.Fields(line)
		return labels[all[len(all)-1]], true
	}
	only := make([]bool, len(lines))
	live := make([]map[string]bool, len(lines)+1) // in front of each line: what other lines will read
	for i := range live {
		live[i] = map[string]bool{}
	}
	for before, sum := -1, 0; sum != before; {
		before, sum = sum, 0
		for i, line := range slices.Backward(lines) {
			now := live[i]
			if op := split(line); op != "JMP" && op != "B" {
				maps.Copy(now, live[i+1])
			}
			if to, ok := target(line); ok {
				maps.Copy(now, live[to])
			}
			code, _, _ := strings.Cut(line, "//")
			reads := general.FindAllString(code, -1)
			m := operand.FindStringSubmatch(line)
			only[i] = m != nil && slices.Contains(hints, m[1])
			if set := moves.FindStringSubmatch(line); set != nil {
				only[i] = only[i] || !live[i+1][set[1]] && !live[i+1][flags]
				reads = reads[:len(reads)-1]
				if !strings.HasPrefix(line, "\tADD") { // its result may be one of its operands
					delete(now, set[1])
				}
			}
			if compares.MatchString(line) {
				delete(now, flags)
			}
			if asks.MatchString(line) {
				now[flags] = true
			}
			if !only[i] && !fixed.MatchString(line) {
				for _, r := range reads {
					now[r] = true
				}
			}
			sum += len(now)
		}
	}
	for i, line := range slices.Backward(lines) {
		if to, ok := target(line); ok && to > i {
			only[i] = true
			for k := i + 1; k < to; k++ {
				code := strings.HasPrefix(lines[k], "\t")
				only[i] = only[i] && (!code || only[k] || fixed.MatchString(lines[k]) && !leaves.MatchString(lines[k]))
			}
		}
	}
	return only
}

// A deck deals mutants, of each function in turn.
type deck struct {
	r     *rand.Rand
	files []file
	hands []hand
	next  int
	dealt map[string]bool
}

type hand struct{ file, function int }

func newDeck(r *rand.Rand, files []file) *deck {
	d := &deck{r: r, files: files, dealt: map[string]bool{}}
	for i, f := range files {
		for j := range f.functions {
			d.hands = append(d.hands, hand{i, j})
		}
	}
	r.Shuffle(len(d.hands), func(i, j int) { d.hands[i], d.hands[j] = d.hands[j], d.hands[i] })
	return d
}

// draw returns a mutant that has not been drawn before, or false if there seem to be none.
func (d *deck) draw() (mutant, bool) {
	for range 1000 * len(d.hands) {
		h := d.hands[d.next%len(d.hands)]
		d.next++
		f := &d.files[h.file]
		in := &f.functions[h.function]
		i := in.sites[d.r.IntN(len(in.sites))]
		c := changes[d.r.IntN(len(changes))]
		after := c.apply(d.r, f.lines[i], in.registers)
		m := mutant{f.isa, f.path, in.name, i + 1, c.name, f.lines[i], after, ""}
		if after == m.before || after == "" || d.dealt[m.String()] {
			d.next-- // the same function again
			continue
		}
		d.dealt[m.String()] = true
		text := slices.Clone(f.lines)
		text[i] = after
		m.text = strings.Join(text, "\n")
		return m, true
	}
	return mutant{}, false
}

// The changes. Each returns the line in another form, or "" where it has nothing to change.
var changes = []struct {
	name  string
	apply func(r *rand.Rand, line string, registers []string) string
}{
	{"operation", operation}, {"constant", constant}, {"offset", offset}, {"register", register}, {"branch", branch},
}

const nothing = "\t// nothing"

// opposites are operations that take the same operands.
var opposites = pairs("VADDPS VSUBPS", "VADDSS VSUBSS", "VMULPS VADDPS", "VDIVPS VMULPS", "VMAXPS VMINPS", "VMAXSS VMINSS",
	"VFMADD231PS VFNMADD231PS", "VFMADD213PS VFNMADD213PS", "VUNPCKLPS VUNPCKHPS", "VUNPCKLPD VUNPCKHPD",
	"VPADDD VPSUBD", "VPSLLD VPSRLD", "VANDPS VORPS", "VXORPS VORPS", "ADDQ SUBQ", "DECQ INCQ", "SHLQ SHRQ",
	"ANDQ ORQ", "ANDL ORL", "VPCMPGTD VPCMPEQD",
	"ADD SUB", "ADDS SUBS", "VADD VSUB", "VZIP1 VZIP2", "VTRN1 VTRN2", "VBIT VBIF", "LSL LSR", "VEOR VORR", "AND ORR",
	"FMOVS FMOVD")

func pairs(list ...string) map[string]string {
	m := map[string]string{}
	for _, p := range list {
		a, b, _ := strings.Cut(p, " ")
		m[a] = b
		if m[b] == "" {
			m[b] = a
		}
	}
	return m
}

// inverse are the conditions of branches; those of an order have the case of equality on either
// side. To a counter that meets 0 exactly, no condition but the inverse would be another one.
var inverse = map[string][]string{
	"JL": {"JGE", "JLE"}, "JLE": {"JG", "JL"}, "JG": {"JLE", "JGE"}, "JGE": {"JL", "JG"}, "JAE": {"JCS", "JHI"},
	"JZ": {"JNZ"}, "JNZ": {"JZ"}, "JE": {"JNE"}, "JNE": {"JE"},
	"BLT": {"BGE", "BLE"}, "BLE": {"BGT", "BLT"}, "BGT": {"BLE", "BGE"}, "BGE": {"BLT", "BGT"},
	"BEQ": {"BNE"}, "BNE": {"BEQ"}, "CBZ": {"CBNZ"}, "CBNZ": {"CBZ"},
}

// split returns the mnemonic of a line.
func split(line string) string {
	op, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	return op
}

func isBranch(op string) bool { return inverse[op] != nil || op == "JMP" || op == "B" }

// argument is a load of an argument. Its register may hold the argument by chance, as the Go function in
// front got it there: so such a load is only mutated into one of another argument.
var argument = regexp.MustCompile(`^\tMOV[QD]\s+\w+\+\d+\(FP\), `)

// operation replaces an operation by its opposite or by nothing.
func operation(r *rand.Rand, line string, _ []string) string {
	op := split(line)
	if isBranch(op) || op == "DATA" {
		return ""
	}
	if argument.MatchString(line) {
		return ""
	}
	if r.IntN(2) == 0 {
		return nothing
	}
	if op == "WORD" {
		return opposite(line)
	}
	if other := opposites[op]; other != "" {
		return strings.Replace(line, op, other, 1)
	}
	return nothing
}

// branch inverts a condition, moves its case of equality, or never branches.
func branch(r *rand.Rand, line string, _ []string) string {
	op := split(line)
	if !isBranch(op) {
		return ""
	}
	if i := r.IntN(3); i < len(inverse[op]) {
		return strings.Replace(line, op, inverse[op][i], 1)
	}
	return nothing
}

var immediate = regexp.MustCompile(`\$([+-]?(?:0x[0-9a-f]+|\d+))`)

// tolerant are limits, which may be looser, and the number whose addition rounds to an integer and
// which is subtracted again. Their signs matter.
var tolerant = regexp.MustCompile(`\$0x(c2d10000|42b20000|c2b00000|42fc0000|c2fe0000|c2fc0000|4b40[0-9a-f]{4})$`)

// constant changes a small constant by one, and a bit of a large one. The low bits of a coefficient
// show in one result of a million: they are left to the exhaustive test of package generic.
func constant(r *rand.Rand, line string, _ []string) string {
	op := split(line)
	m := immediate.FindStringSubmatchIndex(line)
	if m == nil || op == "WORD" {
		return ""
	}
	v, err := strconv.ParseInt(line[m[2]:m[3]], 0, 64)
	if err != nil {
		return ""
	}
	switch {
	case strings.Contains(line, "DATA tail"):
		v ^= 1 << 31 // only the sign of an element of a mask counts
	case tolerant.MatchString(line):
		v ^= 1 << 31
	case v >= 1<<12 || op == "DATA":
		v ^= 1 << (12 + r.IntN(20))
	case r.IntN(2) == 0:
		v++
	default:
		v--
	}
	return line[:m[2]] + strconv.FormatInt(v, 10) + line[m[3]:]
}

var (
	address = regexp.MustCompile(`(-?\d*)(\((?:[A-Z]\w*)\))`) // 32(CX), x+8(FP), tail<>+0(SB)
	scaled  = regexp.MustCompile(`\*[1248]\)`)
)

// offset changes where an operand lies by one element, an argument by one argument, or the scale
// of an index.
func offset(r *rand.Rand, line string, _ []string) string {
	// A vector of equal constants, if moved by one, is the same but for an element of a neighbour,
	// which may have the same constants: only its data is changed.
	if op := split(line); op == "WORD" || op == "DATA" || strings.Contains(line, "splat") {
		return ""
	}
	if at := scaled.FindStringIndex(line); at != nil && r.IntN(2) == 0 {
		return line[:at[0]] + "*" + []string{"1", "2", "4", "8"}[r.IntN(4)] + line[at[1]-1:]
	}
	all := address.FindAllStringSubmatchIndex(line, -1)
	if all == nil {
		return ""
	}
	m := all[0]
	base := line[m[4]:m[5]]
	d, _ := strconv.Atoi(line[m[2]:m[3]]) // none is 0
	step := 4
	if base == "(FP)" {
		step = 8
	}
	if r.IntN(2) == 0 && (base != "(FP)" && base != "(SB)" || d >= step) {
		step = -step
	}
	return line[:m[2]] + strconv.Itoa(d+step) + line[m[3]:]
}

// register replaces one register by another of its class that the function uses.
func register(r *rand.Rand, line string, registers []string) string {
	switch split(line) {
	case "WORD":
		return wordRegister(r, line)
	case "DATA":
		return ""
	}
	at := named.FindAllStringIndex(line, -1)
	if at == nil || argument.MatchString(line) {
		return ""
	}
	m := at[r.IntN(len(at))]
	old := line[m[0]:m[1]]
	var others []string
	for _, x := range registers {
		if class(x) == class(old) && x != old {
			others = append(others, x)
		}
	}
	if others == nil {
		return ""
	}
	return line[:m[0]] + others[r.IntN(len(others))] + line[m[1]:]
}

// class is the letter of a numbered vector register, or "" for any other.
func class(register string) string {
	if strings.ContainsAny(register[:1], "XYZKVF") {
		return register[:1]
	}
	return ""
}

// A WORD is an arm64 instruction that Go's assembler lacks, with its text behind it.
var word = regexp.MustCompile(`\$0x([0-9a-f]{8}) // (\w+)(.*)`)

// flip returns a WORD with other bits.
func flip(line string, bits uint32) string {
	m := word.FindStringSubmatchIndex(line)
	w, err := strconv.ParseUint(line[m[2]:m[3]], 16, 32)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s%08x // not %s", line[:m[2]], uint32(w)^bits, line[m[4]:])
}

// opposite turns addition into subtraction, or a maximum into a minimum, or an instruction that has
// no such bit into nothing.
func opposite(line string) string {
	m := word.FindStringSubmatch(line)
	switch m[2] {
	case "fmla", "fmls":
		if strings.Contains(m[3], "[") { // by element
			return flip(line, 1<<14)
		}
		return flip(line, 1<<23)
	case "fadd", "fsub", "fmax", "fmin", "fmaxnm", "fminnm", "fmaxv", "fminv":
		return flip(line, 1<<23)
	}
	return nothing
}

// wordRegister changes a bit of the number of a register: the destination, or one of the sources.
func wordRegister(r *rand.Rand, line string) string {
	m := word.FindStringSubmatch(line)
	field := []int{0, 5, 16}[r.IntN(strings.Count(m[3], ",")+1)%3]
	return flip(line, 1<<(field+r.IntN(5)))
}
