package spec

import (
	"bytes"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/printer"
	"github.com/selfattn/attn/generic/tile"
)

const tilePath = "github.com/selfattn/attn/generic/tile"

// Signature parses the signature of an assembly function. A pointer is to the first element of a
// vector or of rows, to a state or an array of package tile, or to a gather.
func Signature(expr string) (*gotypes.Signature, error) {
	pkg := types.NewPackage(tilePath, "tile")
	for _, name := range []string{"Panel", "Draw"} {
		state := types.NewTypeName(token.NoPos, pkg, name, nil)
		types.NewNamed(state, types.NewStruct(nil, nil), nil)
		pkg.Scope().Insert(state)
	}
	for name, n := range map[string]int64{"Lanes": tile.Lanes, "MaxPanel": tile.MaxPanel, "Keys": tile.Keys} {
		pkg.Scope().Insert(types.NewConst(token.NoPos, pkg, name, types.Typ[types.UntypedInt], constant.MakeInt64(n)))
	}
	importer := types.NewPackage("", "")
	gather := types.NewTypeName(token.NoPos, nil, "gather", nil)
	types.NewNamed(gather, types.NewStruct(nil, nil), nil)
	importer.Scope().Insert(gather)
	importer.Scope().Insert(types.NewPkgName(token.NoPos, importer, "tile", pkg))
	return gotypes.ParseSignatureInPackage(importer, expr)
}

// WriteFile writes a file of an instruction set: its assembly, dir/name_arch.s, and the stubs of that,
// dir/name_arch.go.
func (isa ISA) WriteFile(f *ir.File, dir, name string) error {
	cfg := printer.Config{Name: "gen/" + isa.Package, Pkg: isa.Package}
	for _, o := range []struct {
		suffix string
		print  printer.Printer
	}{{".s", printer.NewGoAsm(cfg)}, {".go", printer.NewStubs(cfg)}} {
		text, err := o.print.Print(f)
		if err != nil {
			return err
		}
		text = bytes.Replace(text, []byte("command: gen/"), []byte("gen/"), 1)
		if o.suffix == ".go" && bytes.Contains(text, []byte("*tile.")) {
			clause := []byte("package " + isa.Package + "\n")
			text = bytes.Replace(text, clause, append(clause, "\nimport \""+tilePath+"\"\n"...), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name+"_"+isa.Arch+o.suffix), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
