package main

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each operator becomes a call that knows its number, whatever it stands in; comments stay where they are, and what has to be
// constant stays constant.
func TestMutateFile(t *testing.T) {
	const text = `package p

const size = 4 * 2

//go:noinline
func f(a, b int, x []float32, y [2 * 2]bool) bool {
	for i := range x {
		a++ // of both
		x[i] = -x[i] * (2 + 1)
	}
	return a+b%2 < -(3-b) && a == 0 || y[a] != (b >= -1) || x[0] < 1
}
`
	f := &file{path: "p.go", text: text, pkg: "p", fset: token.NewFileSet(), info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}}
	var err error
	f.tree, err = parser.ParseFile(f.fset, "p.go", text, parser.ParseComments)
	require.NoError(t, err)
	f.checked, err = (&types.Config{Importer: importer.Default()}).Check("p", f.fset, []*ast.File{f.tree}, f.info)
	require.NoError(t, err)
	mutants := make([]mutant, 7) // of other files
	_, body, _ := strings.Cut(string(f.mutate(&mutants)), "const size")
	require.Equal(t, ` = 4 * 2

//go:noinline
func f(a, b int, x []float32, y [2 * 2]bool) bool {
	for i := range x {
		a += choice_.Step[int](8, 1) // of both
		x[i] = choice_.Mul[float32](9, choice_.Neg[float32](10, x[i]) , choice_.Pick[float32](11, (2 + 1), 2-1))
	}
	return choice_.Not(12, choice_.Less[int](13, choice_.Add[int](14, a,choice_.Rem[int](15, b,2)) , choice_.Neg[int](16, (choice_.Sub[int](17, 3,b))))) && choice_.Not(18, a == 0) || choice_.Not(19, y[a] != (choice_.Not(20, choice_.GreaterEqual[int](21, b , choice_.Pick[int](22, -1, 1))))) || choice_.Not(23, x[0] < 1)
}

var _ = choice_.On
`, body)
	require.Equal(t, "p.go:11:15: <= for <", mutants[12].String())
}

// The mutants of a package with good tests are met, and killed.
func TestMutate(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the tests of another package")
	}
	t.Chdir("../..")
	r, err := mutate("kernel/internal/pages", 8, 1, 2, nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, r.met, 15)
	require.Equal(t, 8, r.killed+r.lived+r.late)
	require.GreaterOrEqual(t, r.killed, 6)
}
