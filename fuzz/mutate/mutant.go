package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A pkg is what go list says of a package.
type pkg struct {
	Dir, ImportPath, Name, Export      string
	DepOnly                            bool // others import it, and it is not listed itself
	GoFiles, TestGoFiles, XTestGoFiles []string
}

const pkgFields = "Dir,ImportPath,Name,Export,DepOnly,GoFiles,TestGoFiles,XTestGoFiles"

// list returns the packages in and below a directory, without commands, and what parses their files.
func list(dir string) (packages []*pkg, load func(p *pkg) ([]*file, error), err error) {
	pattern := "./" + filepath.ToSlash(dir) + "/..."
	out, err := exec.Command("go", "list", "-export", "-deps", "-json="+pkgFields, pattern).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go list %s: %w; mutate runs in the root of the repository", pattern, err)
	}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		p := new(pkg)
		if err := d.Decode(p); err != nil {
			return nil, nil, err
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly && p.Name != "main" && p.ImportPath != choicePath {
			packages = append(packages, p)
		}
	}
	slices.SortFunc(packages, func(a, b *pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return packages, func(p *pkg) (files []*file, err error) {
		var trees []*ast.File
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			tree, err := parser.ParseFile(fset, path, text, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			trees = append(trees, tree)
			files = append(files, &file{path: path, text: string(text), tree: tree, fset: fset, pkg: p.ImportPath})
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
		checked, err := (&types.Config{Importer: imports}).Check(p.ImportPath, fset, trees, info)
		for _, f := range files {
			f.info, f.checked = info, checked
		}
		return files, err
	}, nil
}

// A mutant is a change of an operator.
type mutant struct {
	id   int // from 1 on
	pkg  string
	at   token.Position
	what string
}

func (m mutant) String() string {
	path := m.at.Filename
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil {
			path = rel
		}
	}
	return fmt.Sprintf("%s:%d:%d: %s", path, m.at.Line, m.at.Column, m.what)
}

// A file is one that is mutated.
type file struct {
	path, text, pkg string
	tree            *ast.File
	fset            *token.FileSet
	info            *types.Info
	checked         *types.Package
	mutants         *[]mutant
	edits, closings []edit // closings are behind expressions, in the order in which these begin
}

// An edit replaces n bytes of the text.
type edit struct {
	at, n int
	text  string
}

const choicePath = "github.com/selfattn/attn/fuzz/mutate/choice"

// mutate returns the text with calls instead of operators, and adds its mutants to some.
func (f *file) mutate(mutants *[]mutant) []byte {
	f.mutants = mutants
	f.replace(f.tree.Name.End(), 0, "\n\nimport choice_ \""+choicePath+"\"")
	ast.Inspect(f.tree, f.visit)
	// At the same place what closes comes first, from the inside to the outside, and then what opens, from the outside to the inside.
	slices.Reverse(f.closings)
	edits := append(f.closings, f.edits...)
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at - b.at })
	var out strings.Builder
	last := 0
	for _, e := range edits {
		out.WriteString(f.text[last:e.at])
		out.WriteString(e.text)
		last = e.at + e.n
	}
	out.WriteString(f.text[last:] + "\nvar _ = choice_.On\n")
	return []byte(out.String())
}

func (f *file) offset(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *file) replace(at token.Pos, n int, text string) {
	f.edits = append(f.edits, edit{f.offset(at), n, text})
}

func (f *file) closing(x ast.Expr, text string) {
	f.closings = append(f.closings, edit{f.offset(x.End()), 0, text})
}

// wrap puts a call around an expression, whose operator becomes a comma.
func (f *file) wrap(x ast.Expr, call string, operator token.Pos, n int, closing string) {
	f.replace(x.Pos(), 0, call)
	if n > 0 {
		f.replace(operator, n, ",")
	}
	f.closing(x, closing)
}

// mutant adds one, and returns its number.
func (f *file) mutant(at token.Pos, what string) int {
	id := len(*f.mutants) + 1
	*f.mutants = append(*f.mutants, mutant{id, f.pkg, f.fset.Position(at), what})
	return id
}

// neighbours are the operators that the others become, and calls what computes both.
var (
	neighbours = map[token.Token]token.Token{token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
		token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR}
	calls = map[token.Token]string{token.ADD: "Add", token.SUB: "Sub", token.MUL: "Mul", token.QUO: "Quo", token.REM: "Rem",
		token.LSS: "Less", token.LEQ: "LessEqual", token.GTR: "Greater", token.GEQ: "GreaterEqual"}
)

// visit mutates a node, and reports whether those in it are to be visited.
func (f *file) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok == token.VAR
	case *ast.ArrayType, *ast.FuncType:
		return false
	case *ast.IncDecStmt:
		step, typ := "1", f.typeName(f.info.TypeOf(n.X))
		if n.Tok == token.DEC {
			step = "-1"
		}
		if typ != "" {
			id := f.mutant(n.TokPos, n.Tok.String()+" the other way")
			f.replace(n.TokPos, 2, fmt.Sprintf(" += choice_.Step[%s](%d, %s)", typ, id, step))
		}
	case ast.Expr:
		if v, ok := f.info.Types[n]; ok && v.Value != nil {
			f.constant(n, v)
			return false
		}
		if v, ok := f.info.Types[n]; ok && v.IsType() {
			return false
		}
		f.expression(n)
	}
	return true
}

// expression mutates one that is not constant.
func (f *file) expression(x ast.Expr) {
	switch x := x.(type) {
	case *ast.UnaryExpr:
		if x.Op == token.SUB && f.number(f.info.TypeOf(x)) {
			id := f.mutant(x.OpPos, "no minus sign")
			f.replace(x.OpPos, 1, fmt.Sprintf("choice_.Neg%s(%d, ", f.brackets(x), id))
			f.closing(x, ")")
		}
	case *ast.BinaryExpr:
		op, to := x.Op, neighbours[x.Op]
		switch op {
		case token.EQL, token.NEQ:
			f.wrap(x, fmt.Sprintf("choice_.Not(%d, ", f.mutant(x.OpPos, "not "+op.String())), 0, 0, ")")
		case token.LSS, token.LEQ, token.GTR, token.GEQ:
			not := f.mutant(x.OpPos, "not "+op.String())
			if f.float(f.info.TypeOf(x.X)) {
				f.wrap(x, fmt.Sprintf("choice_.Not(%d, ", not), 0, 0, ")")
				return
			}
			limit := f.mutant(x.OpPos, fmt.Sprintf("%v for %v", to, op))
			f.wrap(x, fmt.Sprintf("choice_.Not(%d, choice_.%s%s(%d, ", not, calls[op], f.brackets(x.X), limit), x.OpPos, len(op.String()), "))")
		case token.ADD, token.SUB, token.MUL, token.QUO, token.REM:
			if f.number(f.info.TypeOf(x)) {
				id := f.mutant(x.OpPos, fmt.Sprintf("%v for %v", to, op))
				f.wrap(x, fmt.Sprintf("choice_.%s%s(%d, ", calls[op], f.brackets(x), id), x.OpPos, 1, ")")
			}
		}
	}
}

// constant mutates the outermost operator of a constant expression.
func (f *file) constant(x ast.Expr, v types.TypeAndValue) {
	typ := f.typeName(v.Type)
	if typ == "" || !f.number(v.Type) {
		return
	}
	source := func(x ast.Expr) string { return f.text[f.offset(x.Pos()):f.offset(x.End())] }
	var at token.Pos
	var other, what string
	switch x := ast.Unparen(x).(type) {
	case *ast.UnaryExpr:
		if x.Op != token.SUB {
			return
		}
		at, other, what = x.OpPos, source(x.X), "no minus sign"
	case *ast.BinaryExpr:
		to := neighbours[x.Op]
		if to == token.ILLEGAL {
			return
		}
		at, other, what = x.OpPos, source(x.X)+to.String()+source(x.Y), fmt.Sprintf("%v for %v", to, x.Op)
	default:
		return
	}
	if _, err := types.Eval(f.fset, f.checked, x.Pos(), fmt.Sprintf("%s(%s)", typ, other)); err != nil {
		return // it is no such number
	}
	f.replace(x.Pos(), 0, fmt.Sprintf("choice_.Pick[%s](%d, ", typ, f.mutant(at, what)))
	f.closing(x, ", "+other+")")
}

// number reports whether a type is of numbers that are not complex, or one that may be.
func (f *file) number(t types.Type) bool {
	if _, param := t.(*types.TypeParam); param {
		return true
	}
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&(types.IsInteger|types.IsFloat) != 0
}

// float reports whether a type is of floating-point numbers.
func (f *file) float(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsFloat != 0
}

// typeName returns what a type is called in the file, or "".
func (f *file) typeName(t types.Type) string {
	named := true
	name := types.TypeString(types.Default(t), func(p *types.Package) string {
		if p == f.checked {
			return ""
		}
		for _, s := range f.tree.Imports {
			if strings.Trim(s.Path.Value, `"`) != p.Path() {
				continue
			}
			if s.Name != nil && s.Name.Name != "." {
				return s.Name.Name
			}
			if s.Name == nil {
				return p.Name()
			}
			return ""
		}
		named = false
		return ""
	})
	if !named {
		return ""
	}
	return name
}

// brackets returns the type of an expression as a type argument, or nothing where it has to be inferred.
func (f *file) brackets(x ast.Expr) string {
	if name := f.typeName(f.info.TypeOf(x)); name != "" {
		return "[" + name + "]"
	}
	return ""
}
