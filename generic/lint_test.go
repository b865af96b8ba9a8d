package generic

import (
	"go/ast"
	"go/build"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"math"
	"path/filepath"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// checker finds arithmetic whose bits depend on the machine. The compiler may fuse a product and a
// sum into one rounding, across statements too, unless a conversion rounds the product.
type checker struct {
	fset  *token.FileSet
	info  *types.Info
	found []string // positions and what is wrong there
}

// typecheck parses and checks Go files.
func typecheck(t *testing.T, path string, files map[string]any) (*checker, []*ast.File) {
	c := &checker{fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
	}}
	var parsed []*ast.File
	for name, src := range files {
		f, err := parser.ParseFile(c.fset, name, src, parser.SkipObjectResolution)
		require.NoError(t, err)
		parsed = append(parsed, f)
	}
	conf := types.Config{Importer: importer.ForCompiler(c.fset, "source", nil)}
	_, err := conf.Check(path, c.fset, parsed, c.info)
	require.NoError(t, err)
	return c, parsed
}

func (c *checker) report(n ast.Node, what string) {
	c.found = append(c.found, c.fset.Position(n.Pos()).String()+": "+what)
}

// inspect reports products that a sum may swallow: operands of + and -, and values of local variables.
func (c *checker) inspect(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if n.Op == token.ADD || n.Op == token.SUB {
				c.product(n.X)
				c.product(n.Y)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				_, local := left.(*ast.Ident)
				switch {
				case n.Tok == token.ADD_ASSIGN, n.Tok == token.SUB_ASSIGN:
					c.product(n.Rhs[i])
				case n.Tok == token.MUL_ASSIGN && local && c.float(left):
					c.report(n, "a product without a conversion in a local variable")
				case local && len(n.Rhs) == len(n.Lhs):
					c.product(n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for _, v := range n.Values {
				c.product(v)
			}
		}
		return true
	})
}

// product reports e if it is a product of floats that rounds.
func (c *checker) product(e ast.Expr) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		c.product(e.X)
	case *ast.UnaryExpr:
		c.product(e.X)
	case *ast.BinaryExpr:
		if e.Op == token.MUL && c.float(e) && c.info.Types[e].Value == nil && !c.exact(e) {
			c.report(e, "a product without a conversion may be fused with a sum")
		}
	}
}

// exact reports whether a product does not round: two float32 in float64, or a factor of 2.
func (c *checker) exact(e *ast.BinaryExpr) bool {
	if c.widened(e.X) && c.widened(e.Y) {
		return true
	}
	for _, x := range []ast.Expr{e.X, e.Y} {
		if v := c.info.Types[x].Value; v != nil && constant.Compare(v, token.EQL, constant.MakeInt64(2)) {
			return true
		}
	}
	return false
}

// widened reports whether e is float64(x) for a float32 x.
func (c *checker) widened(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && c.info.Types[call.Fun].IsType() && c.info.TypeOf(call) == types.Typ[types.Float64] &&
		c.info.TypeOf(call.Args[0]) == types.Typ[types.Float32]
}

func (c *checker) float(e ast.Expr) bool {
	b, ok := c.info.TypeOf(e).Underlying().(*types.Basic)
	return ok && b.Info()&types.IsFloat != 0
}

// These functions of package math are exact; the others may be assembly whose bits differ.
var exactMath = map[string]bool{
	"FMA": true, "Frexp": true, "Ldexp": true, "RoundToEven": true,
	"Ceil": true, "Sqrt": true, "Inf": true, "IsInf": true, "Signbit": true, "Float32bits": true, "Float32frombits": true, "Float64bits": true, "Float64frombits": true,
}

// calls reports uses of other functions of package math.
func (c *checker) calls(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			fn, ok := c.info.Uses[id].(*types.Func)
			if ok && fn.Pkg() != nil && fn.Pkg().Path() == "math" && !exactMath[fn.Name()] {
				c.report(id, "math."+fn.Name()+" does not promise its bits")
			}
		}
		return true
	})
}

// The Go code of every kernel and of what stands around them.
func TestNoFusedProducts(t *testing.T) {
	asmtest.SkipPlain(t)
	engine, err := filepath.Glob("../kernel/internal/*")
	require.NoError(t, err)
	for _, dir := range append(engine, ".", "tile", "../kernel", "../asm", "../asm/internal/avx2", "../asm/internal/neon") {
		pkg, err := build.ImportDir(dir, 0)
		require.NoError(t, err)
		files := map[string]any{}
		for _, name := range pkg.GoFiles {
			files[filepath.Join(pkg.Dir, name)] = nil
		}
		c, parsed := typecheck(t, dir, files)
		for _, f := range parsed {
			c.inspect(f)
			c.calls(f)
		}
		for _, what := range c.found {
			t.Error(what)
		}
	}
}

// The lint itself: it finds each of these, and lets what is rounded or exact pass.
func TestLintFindsFusedProducts(t *testing.T) {
	asmtest.SkipPlain(t)
	for src, want := range map[string]int{
		"return x*y + z":                            1,
		"return z - (x*y)":                          1,
		"return -(x*y) + z":                         1,
		"z += x * y; return z":                      1,
		"z -= x * y; return z":                      1,
		"p := x * y; return p + z":                  1,
		"x *= y; return x + z":                      1,
		"var p = x * y; return p + z":               1,
		"return x*y + z*z":                          2,
		"return float32(math.Log(float64(x)))":      1,
		"return float32(x*y) + z":                   0,
		"return float32(float64(x)*float64(y) + 1)": 0,
		"return 2*x + y":                            0,
		"return x / y * z":                          0,
		"i := 3; i += 2*i; return float32(i)":       0,
	} {
		c, parsed := typecheck(t, "p", map[string]any{"p.go": "package p\nimport \"math\"\nvar _ = math.Pi\nfunc f(x, y, z float32) float32 {" + src + "}"})
		c.inspect(parsed[0])
		c.calls(parsed[0])
		require.Len(t, c.found, want, "%s", src)
	}
	// What the lint is about: here one rounding and two differ.
	x, y, z := float32(1+0x1p-12), float32(1+0x1p-12), float32(-1-0x1p-11)
	require.NotEqual(t, FMA(x, y, z), float32(x*y)+z)
	require.Equal(t, float32(math.Ldexp(1, -24)), FMA(x, y, z))
}
