package fuzz

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// An Implementation is attention of somebody: its functions set their results for a case that has no more than
// it takes, or return [errors.ErrUnsupported] for one that they do not take all the same. They must not write to the case.
type Implementation struct {
	Takes Features
	Order Order

	Attention func(out []float32, c *Case) error        // out is NaN before
	LSE       func(lse []float32, c *Case) error        // Exact.LSE; nil is none
	Gradient  func(dq, dk, dv []float32, c *Case) error // of a case with DO; nil is none

	// EditGradient sets the gradients of Bias, ALiBi and Sinks, of a case with DO that has one of them: what it has not is empty.
	// nil is none.
	EditGradient func(dbias, dalibi, dsinks []float32, c *Case) error
}

// A Result is what an implementation makes of the cases of a [Kind].
type Result struct {
	Kind     string
	Cases    int     // that it takes
	Output   float64 // the largest error of an output, in units of its bound; +Inf outside of Exact.Low and High
	LSE      float64 // likewise of a log-sum-exp
	Gradient float64 // likewise of a gradient
	Bounded  float64 // the part of all elements that have a bound
	Case     *Case   // the first that is wrong, or else that with the largest of these errors
}

func (r *Result) worst() float64 { return max(r.Output, r.LSE, r.Gradient) }

// A finding is what an implementation makes of a case.
type finding struct {
	output, lse, gradient float64 // errors in units of their bounds
	elements, bounded     int
	text                  string // of the worst element
}

func (f *finding) worst() float64 { return max(f.output, f.lse, f.gradient) }

// try runs a resolved case.
func (m *Implementation) try(c *Case) (*finding, error) {
	x, err := c.Exact(&m.Order)
	if err != nil {
		return nil, err
	}
	f := &finding{}
	note := func(name string, b Bounded, got []float32, shape ...int) float64 {
		for _, y := range b.Bound {
			f.elements++
			if !math.IsInf(y, 1) {
				f.bounded++
			}
		}
		ratio, at := b.Worst(got)
		if ratio > f.worst() {
			f.text = fmt.Sprintf("%s%v is %g, want %.9g within %.3g: the error is %.3g times its bound", name, index(at, shape), got[at], b.Want[at], b.Bound[at], ratio)
		}
		return ratio
	}
	out := nans(len(x.Out.Want))
	if err := m.Attention(out, c); err != nil {
		return nil, err
	}
	shape := []int{c.Heads, c.Queries, c.VDim}
	f.output = note("out", x.Out, out, shape...)
	for i, y := range out {
		if f.output <= 1 && !(x.Low[i] <= float64(y) && float64(y) <= x.High[i]) {
			f.output = math.Inf(1)
			f.text = fmt.Sprintf("out%v is %g, but its values are from %.9g to %.9g", index(i, shape), y, x.Low[i], x.High[i])
		}
	}
	if m.LSE != nil {
		lse := nans(len(x.LSE.Want))
		if err := m.LSE(lse, c); err != nil {
			return nil, err
		}
		f.lse = note("lse", x.LSE, lse, shape[:2]...)
	}
	if m.Gradient != nil && c.DO != nil {
		dq, dk, dv := nans(len(c.Q)), nans(len(c.K)), nans(len(c.V))
		if err := m.Gradient(dq, dk, dv, c); err != nil {
			return nil, err
		}
		f.gradient = max(
			note("dQ", x.DQ, dq, c.Heads, c.Queries, c.Dim),
			note("dK", x.DK, dk, c.KVHeads, c.Keys, c.Dim),
			note("dV", x.DV, dv, c.KVHeads, c.Keys, c.VDim))
	}
	if m.EditGradient != nil && c.DO != nil && (c.Bias != nil || c.ALiBi != nil || c.Sinks != nil) {
		dbias, dalibi, dsinks := nans(len(c.Bias)), nans(len(c.ALiBi)), nans(len(c.Sinks))
		if err := m.EditGradient(dbias, dalibi, dsinks, c); err != nil {
			return nil, err
		}
		f.gradient = max(f.gradient,
			note("dBias", x.DBias, dbias, c.Heads, c.Queries, c.Keys),
			note("dALiBi", x.DALiBi, dalibi),
			note("dSinks", x.DSinks, dsinks))
	}
	return f, nil
}

func nans(n int) []float32 {
	x := make([]float32, n)
	fill(x, func() float32 { return float32(math.NaN()) })
	return x
}

// index returns [batch member, ...] of an element.
func index(at int, shape []int) []int {
	all := make([]int, len(shape)+1)
	for i := len(shape) - 1; i >= 0; i-- {
		all[i+1], at = at%shape[i], at/shape[i]
	}
	all[0] = at
	return all
}

// sizes are the numbers of queries and keys that Check goes through: both sides of the edges of tiles and vectors.
var sizes = [][2]int{
	{1, 1}, {1, 2}, {3, 3}, {1, 7}, {9, 9}, {5, 16}, {1, 17}, {1, 31}, {33, 33}, {2, 63}, {4, 65}, {1, 127}, {3, 129},
	{1, 255}, {2, 257}, {9, 300}, {1, 512}, {1, 1025},
}

// cases calls f with what Check draws of a kind, until it returns false: each size without features, with one of them, and with
// any. Other kinds have other ones.
func (m *Implementation) cases(kind int, f func(c *Case) bool) {
	var each []Features
	for one := Features(1); one <= All; one <<= 1 {
		if m.Takes&one != 0 {
			each = append(each, one)
		}
	}
	r := rand.New(rand.NewPCG(uint64(kind), uint64(m.Takes)))
	for i, size := range sizes {
		sets := []Features{0}
		if each != nil {
			sets = append(sets, each[(i+kind)%len(each)]|m.Takes&Empty, m.Takes&Features(r.Uint64()))
		}
		for _, set := range sets {
			if !f(m.draw(&Kinds[kind], r.Uint64(), size[0], size[1], set)) {
				return
			}
		}
	}
}

// draw is Draw, with the gradient of an output if m has gradients.
func (m *Implementation) draw(k *Kind, seed uint64, queries, keys int, features Features) *Case {
	c := k.Draw(seed, queries, keys, features)
	if m.Gradient != nil || m.EditGradient != nil {
		r := rand.New(rand.NewPCG(seed, 1))
		c.DO = make([]float32, c.Batch*c.Heads*c.Queries*c.VDim)
		fill(c.DO, func() float32 { return float32(r.NormFloat64()) })
	}
	return c
}

// Survey runs an implementation on what [Check] draws, and returns a result for each of [Kinds]. It returns an error
// of the implementation.
func Survey(m *Implementation) (all []Result, err error) {
	for i := range Kinds {
		k := &Kinds[i]
		r := Result{Kind: k.Name}
		elements, bounded, worst := 0, 0, -1.0
		m.cases(i, func(c *Case) bool {
			f, e := m.try(c)
			if errors.Is(e, errors.ErrUnsupported) {
				return true
			}
			if e != nil {
				err = fmt.Errorf("%s: %w: %v", k.Name, e, c)
				return false
			}
			r.Cases++
			elements, bounded = elements+f.elements, bounded+f.bounded
			r.Output, r.LSE, r.Gradient = max(r.Output, f.output), max(r.LSE, f.lse), max(r.Gradient, f.gradient)
			if worst <= 1 && f.worst() > worst {
				worst, r.Case = f.worst(), c
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		r.Bounded = float64(bounded) / float64(max(1, elements))
		all = append(all, r)
	}
	return all, nil
}

// Check runs an implementation on cases of all [Kinds], several hundred of up to 1025 keys, always the same. It
// fails t for each kind of which an element is not within its bound, with the smallest case that it finds, as Go code. It also fails t for an error
// other than [errors.ErrUnsupported], and if the implementation takes no case of a kind.
func Check(t testing.TB, m *Implementation) {
	t.Helper()
	results, err := Survey(m)
	if err != nil {
		t.Error(err)
	}
	for i, r := range results {
		k := &Kinds[i]
		t.Logf("%s: the largest error is %.3g of its bound, over %d cases", k.Name, r.worst(), r.Cases)
		if r.Cases == 0 {
			t.Errorf("attn: %s: the implementation takes none of the cases", k.Name)
		} else if r.worst() > 1 {
			t.Error(m.report(k, r.Case))
		}
	}
}

// Fuzz adds seeds to f, and checks an implementation on the cases that it draws.
//
//	func FuzzAttention(f *testing.F) { fuzz.Fuzz(f, &fuzz.Implementation{...}) }
func Fuzz(f *testing.F, m *Implementation) {
	for kind := range Kinds {
		for i, size := range sizes {
			x := kind
			if i >= 16 { // with dropout alone
				x += len(Kinds)
			}
			f.Add(uint8(x), uint64(i), uint16(size[0]), uint16(size[1]), uint16(1<<i))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, seed uint64, queries, keys, features uint16) {
		k := &Kinds[int(kind)%len(Kinds)]
		n := 1 + int(keys-1)%1100
		set := Features(features)
		if int(kind)/len(Kinds)%2 > 0 { // as 16 bits are full
			set |= Dropouts
		}
		c := m.draw(k, seed, 1+int(queries-1)%min(64, 1+4096/n), n, m.Takes&set) // some milliseconds
		if f, err := m.try(c); errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		} else if err != nil {
			t.Errorf("%s: %v: %v", k.Name, err, c)
		} else if f.worst() > 1 {
			t.Error(m.report(k, c))
		}
	})
}

// failing returns what is found of a case if that is wrong, else nil.
func (m *Implementation) failing(c *Case) *finding {
	if f, err := m.try(c); err == nil && f.worst() > 1 {
		return f
	}
	return nil
}

// report returns the text of a case that was found wrong, shrunk.
func (m *Implementation) report(k *Kind, c *Case) string {
	c = m.shrink(c)
	text := "a result that was wrong is right when it is computed again"
	if f := m.failing(c); f != nil {
		text = f.text
	}
	return fmt.Sprintf("attn: %s: %s\nsuch input exposes %s\nthe smallest case that was found: %v", k.Name, text, k.Exposes, c)
}
