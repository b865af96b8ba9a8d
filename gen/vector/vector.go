// Package vector describes what the kernels compute along vectors, once for all instruction sets:
// the exponentials, whose constants package exponent explains. A generator lowers it through a
// [Machine].
//
// Loops are not described here. Their tails are masked with one instruction set and go element by
// element with another, and their blocks follow the number of registers.
package vector

// A Machine emits instructions on vectors of float32 or, where a name says Int, of int32.
//
// Operands are groups of registers that go through the same steps in lockstep: R is a register, or
// what an instruction takes in place of one. A group of one, such as a constant, is an operand to
// each register of a longer group. The first operand is the destination; it may be a source too.
type Machine[R any] interface {
	Const(f float32) []R        // f in all lanes, where an instruction takes it as its last operand
	Load(f float32) []R         // f in all lanes, where any instruction takes it, until the next Load or polynomial step
	Fill(d []R, f float32) []R  // f in all lanes, in d where the machine has no better place
	Max(d, x, y []R)            // the greater one, NaN if x is NaN
	Min(d, x, y []R)            // the lesser one, NaN if x is NaN
	Add(d, x, y []R)            // x + y
	Sub(d, x, y []R)            // x - y
	Mul(d, x, y []R)            // x * y
	Div(d, x, y []R)            // x / y
	Abs(d, x []R)               // |x|
	MinBits(d, x, y []R)        // the lesser one of unsigned integers
	MulAdd(d, x, y []R)         // d + x*y, rounded once
	MulSub(d, x, y []R)         // d - x*y, rounded once
	AddInt(d, x, y []R)         // x + y
	SubInt(d, x, y []R)         // x - y
	ShiftLeft(d, x []R, n int)  // x << n
	ShiftRight(d, x []R, n int) // x >> n, with zeros
	Index(d, x []R) []R         // the low bits of x as indices, in d where the machine has to compute them
	Lookup(d, i []R, t *Table)  // t at the indices

	// Steps of a polynomial: y*r + t and t - y*r, rounded once. y is destroyed, unless it is constant.
	Step(y, r []R, t float32) []R
	StepNeg(y, r []R, t float32) []R
}

// A Table is eight elements that an instruction looks up by the low bits of an index.
type Table struct {
	Name   string
	Values [8]float32
}
