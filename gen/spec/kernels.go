package spec

// wideVector elements or more are worth the wide registers, and wideSum where their lanes are added
// up.
const (
	wideVector = "len(x) >= 64"
	wideSum    = "len(x) >= 256"
	wideSource = "len(src) >= 64"
	never      = "false"
)

// columns are those of a product of packed panels.
const columns = "len(b)/a.Dim"

// aheadRows are the parameters of readAhead.
var aheadRows = []string{"ahead", "rows", "width", "wrap", "left"}

// walked are the parameters of what prefetches values while others are read, walkedKeys those of keys, several of which
// are read side by side, and walkedGroups those of values that may lie apart.
var (
	walked       = []string{"distance", "far", "jump", "row", "wrap", "left"}
	walkedKeys   = append([]string{"turn"}, walked...)
	walkedGroups = append([]string{"apart"}, walked...)
)

// Kernels is the table.
var Kernels = []Kernel{
	{
		Name: "Dot", Result: float, Elements: "x", Wide: never,
		Note:   "AVX-512 is not faster: the contract's 32 lanes are two accumulators there, which wait for each other.",
		Params: []Param{{"x", vector, read("len(x)")}, {"y", vector, read("len(x)")}},
	}, {
		Name: "Exp", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}},
	}, {
		Name: "Gelu", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}},
	}, {
		Name: "GeluTanh", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}},
	}, {
		Name: "Silu", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}},
	}, {
		Name: "Max", Result: float, Elements: "x", Wide: wideSum,
		Params: []Param{{"x", vector, read("len(x)")}},
	}, {
		Name: "ExpSum", Elements: "x", Wide: wideSum,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}, {"m", float, value}, {"sum", lanes, write()}},
	}, {
		Name: "SumExp", Elements: "x", Wide: wideSum,
		Params: []Param{{"x", vector, read("len(x)")}, {"m", float, value}, {"sum", lanes, write()}},
	}, {
		Name: "Div", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}, {"d", float, value}},
	}, {
		Name: "Scale", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}, {"f", float, value}},
	}, {
		Name: "Moments", Elements: "x", Wide: wideSum,
		Params: []Param{{"x", vector, read("len(x)")}, {"m", float, value}, {"sum", lanes, write()}, {"squares", lanes, write()}},
	}, {
		Name: "Normalize", Elements: "x", Cut: true, Wide: wideVector,
		Params: []Param{{"dst", vector, write("len(x)")}, {"x", vector, read("len(x)")}, {"gain", vector, read("len(x)")},
			{"bias", vector, read("len(x)")}, {"norm", norm, read()}},
	}, {
		Name: "Fold", Result: float, Wide: never,
		Params: []Param{{"sum", lanes, read()}},
	}, {
		Name: "ToFloat16", Elements: "src", Cut: true, Wide: wideSource,
		Params: []Param{{"dst", halves, write("len(src)")}, {"src", vector, read("len(src)")}},
	}, {
		Name: "FromFloat16", Elements: "src", Cut: true, Wide: wideSource,
		Params: []Param{{"dst", vector, write("len(src)")}, {"src", halves, read("len(src)")}},
	}, {
		Name: "ToBFloat16", Elements: "src", Cut: true, Wide: wideSource,
		Params: []Param{{"dst", halves, write("len(src)")}, {"src", vector, read("len(src)")}},
	}, {
		Name: "FromBFloat16", Elements: "src", Cut: true, Wide: wideSource,
		Params: []Param{{"dst", vector, write("len(src)")}, {"src", halves, read("len(src)")}},
	}, {
		Name: "MaxAbs", Result: float, Elements: "x", Wide: wideVector,
		Params: []Param{{"x", vector, read("len(x)")}},
	}, {
		Name: "Quantize", Elements: "src", Cut: true, Wide: wideSource,
		Params: []Param{{"dst", octets, write("len(src)")}, {"src", vector, read("len(src)")}, {"scale", float, value}},
	}, {
		Name: "Dequantize", Elements: "src", Cut: true, Wide: wideSource,
		Params: []Param{{"dst", vector, write("len(src)")}, {"src", octets, read("len(src)")}, {"scale", float, value}},
	}, {
		Name: "MatMulTile", Width: "c.Dim", Odd: true,
		Params: []Param{{"c", rows, write(columns)}, {"a", rows, read()}, {"start", rows, read(columns)}, {"b", vector, read("len(b)")},
			{"add", flag, value}},
		Hints: map[string][]string{"matMulTile": {"distance"}, "matMulRow": {"distance"}},
	}, {
		Name: "MatMulPack", Width: "c.Dim", Odd: true,
		Params: []Param{{"c", rows, write()}, {"a", rows, read()}, {"start", rows, read()}, {"b", rows, read()},
			{"dst", vector, write("b.Len*PanelWidth")}, {"add", flag, value}},
	}, {
		Name: "MatMulTileFloat16", Width: "c.Dim", Odd: true,
		Params: []Param{{"c", rows, write(columns)}, {"a", rows, read()}, {"start", rows, read(columns)}, {"b", halves, read("len(b)")},
			{"add", flag, value}},
		Hints: map[string][]string{"matMulTileFloat16": {"distance"}, "matMulRowFloat16": {"distance"}},
	}, {
		Name: "MatMulTileBFloat16", Width: "c.Dim", Odd: true,
		Params: []Param{{"c", rows, write(columns)}, {"a", rows, read()}, {"start", rows, read(columns)}, {"b", halves, read("len(b)")},
			{"add", flag, value}},
		Hints: map[string][]string{"matMulTileBFloat16": {"distance"}, "matMulRowBFloat16": {"distance"}},
	}, {
		Name: "MatMulTileInt8", Width: "c.Dim", Odd: true,
		Params: []Param{{"c", rows, write(columns)}, {"a", rows, read()}, {"start", rows, read(columns)}, {"b", octets, read("len(b)")},
			{"scale", vector, read(columns)}, {"add", flag, value}},
		Hints: map[string][]string{"matMulTileInt8": {"distance"}, "matMulRowInt8": {"distance"}},
	}, {
		Name: "PackPanel", Width: "w", Odd: true,
		Params: []Param{{"dst", vector, write("tile.Pad(dim)*PanelWidth")}, {"src", vector, read("offset[:PanelWidth]", "dim")},
			{"offset", offsets, value}, {"w", integer, value}, {"dim", integer, value}, {"scale", float, value}},
	}, {
		Name: "ScoreTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("k.Len*PanelWidth")}, {"st", state, write()}, {"q", vector, read("k.Dim*PanelWidth")},
			{"k", rowsAt, read()}, {"upper", integer, value}, {"ahead", rowsAt, value}},
		Hints: map[string][]string{"scoreTile": aheadRows, "aheadPages": {"ahead", "pages", "step"}},
	}, {
		Name: "CapTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"n", integer, value},
			{"cap", float, value}, {"inverse", float, value}},
	}, {
		Name: "AlibiTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"position", whole, read()}, {"slope", floats, read()},
			{"n", integer, value}, {"first", integer, value}},
	}, {
		Name: "BiasTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"bias", vector, read("offset[:PanelWidth]", "n")},
			{"offset", offsets, value}, {"n", integer, value}},
	}, {
		Name: "BiasKeys", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"bias", vector, read("n")}, {"n", integer, value}},
	}, {
		Name: "ScaleTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"scale", vector, read("n")}, {"n", integer, value}},
	}, {
		Name: "PackMask", Width: "w", Result: "seen int",
		Params: []Param{{"lanes", bits, write()}, {"mask", flags, read("offset[:PanelWidth]", "n")}, {"offset", offsets, value},
			{"w", integer, value}, {"n", integer, value}},
	}, {
		Name: "HideTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"lanes", bits, read()}, {"n", integer, value}},
	}, {
		Name: "SoftmaxTile", Width: "st.Width",
		Params: []Param{{"s", vector, write("n*PanelWidth")}, {"st", state, write()}, {"n", integer, value}},
	}, {
		Name: "DrawTile", Width: "d.Width",
		Params: []Param{{"lanes", words, write("len(lanes)")}, {"d", draw, read()}, {"key", integer, value}},
	}, {
		Name: "ValueTile", Width: "st.Width",
		Params: []Param{{"acc", vector, write("v.Dim*PanelWidth")}, {"p", vector, read("v.Len*PanelWidth")}, {"st", state, read()},
			{"v", rowsAt, read()}, {"upper", integer, value}, {"ahead", rowsAt, value}},
		Hints: map[string][]string{"valueTile": aheadRows},
	}, {
		Name: "FinishPanel", Width: "st.Width", Result: "nan bool",
		Params: []Param{{"dst", vector, write("offset[:PanelWidth]", "dim")}, {"offset", offsets, value},
			{"acc", vector, read("dim*PanelWidth")}, {"st", state, write()}, {"dim", integer, value}},
	}, {
		Name: "RowScores",
		Params: []Param{{"s", vector, write("rows", "max(k.Len, 16)", "tile.Keys")}, {"q", vector, read("k.Dim", "rows", "w")},
			{"w", integer, value}, {"rows", integer, value}, {"k", rowsAt, read()}, {"next", integer, value}},
		Hints: map[string][]string{"rowScores1": append([]string{"apart"}, walkedKeys...), "rowScores4": walkedKeys, "rowScores4By16": walkedKeys,
			"rowScores8": walkedKeys},
	}, {
		Name: "RowScoresFloat16",
		Params: []Param{{"s", vector, write("rows", "k.Len", "tile.Keys")}, {"q", vector, read("k.Dim", "rows", "w")},
			{"w", integer, value}, {"rows", integer, value}, {"k", half, read()}},
		Hints: map[string][]string{"rowScores1Float16": walkedKeys, "rowScores4Float16": walkedKeys},
	}, {
		Name: "RowScoresBFloat16",
		Params: []Param{{"s", vector, write("rows", "k.Len", "tile.Keys")}, {"q", vector, read("k.Dim", "rows", "w")},
			{"w", integer, value}, {"rows", integer, value}, {"k", half, read()}},
		Hints: map[string][]string{"rowScores1BFloat16": walkedKeys, "rowScores4BFloat16": walkedKeys},
	}, {
		Name: "RowScoresInt8",
		Params: []Param{{"s", vector, write("rows", "k.Len", "tile.Keys")}, {"q", vector, read("k.Dim", "rows", "w")},
			{"w", integer, value}, {"rows", integer, value}, {"k", octet, read()}},
		Hints: map[string][]string{"rowScores1Int8": walkedKeys, "rowScores4Int8": walkedKeys},
	}, {
		Name: "CapRow", Elements: "s", Wide: "len(s) >= 64",
		Params: []Param{{"s", vector, write("len(s)")}, {"cap", float, value}, {"inverse", float, value}},
	}, {
		Name: "AlibiRow", Elements: "s", Wide: "len(s) >= 64",
		Params: []Param{{"s", vector, write("len(s)")}, {"position", integer, value}, {"slope", float, value}},
	}, {
		Name: "BiasRow", Elements: "s", Wide: "len(s) >= 64",
		Params: []Param{{"s", vector, write("len(s)")}, {"bias", vector, read("len(s)")}},
	}, {
		Name: "HideRow", Elements: "s", Wide: "len(s) >= 64", Result: "hides bool",
		Params: []Param{{"s", vector, write("len(s)")}, {"mask", flags, read("len(s)")}},
	}, {
		Name: "RowWeights", Result: "m float32", Elements: "s", Wide: "len(s) >= 64",
		Params: []Param{{"s", vector, write("len(s)")}},
	}, {
		Name: "RowValues",
		Params: []Param{{"o", vector, write("rows*tile.Pad(v.Dim)")}, {"p", vector, read("rows", "v.Len", "tile.Keys")},
			{"sum", vector, write("rows")}, {"rows", integer, value}, {"v", rowsAt, read()}, {"next", integer, value}},
		Hints: map[string][]string{"rowValues1": walkedGroups, "rowValues4": walked, "rowValues8": walked},
	}, {
		Name: "RowValuesFloat16",
		Params: []Param{{"o", vector, write("rows*tile.Pad(v.Dim)")}, {"p", vector, read("rows", "v.Len", "tile.Keys")},
			{"sum", vector, write("rows")}, {"rows", integer, value}, {"v", half, read()}},
		Hints: map[string][]string{"rowValues1Float16": walkedGroups, "rowValues4Float16": walkedGroups},
	}, {
		Name: "RowValuesBFloat16",
		Params: []Param{{"o", vector, write("rows*tile.Pad(v.Dim)")}, {"p", vector, read("rows", "v.Len", "tile.Keys")},
			{"sum", vector, write("rows")}, {"rows", integer, value}, {"v", half, read()}},
		Hints: map[string][]string{"rowValues1BFloat16": walkedGroups, "rowValues4BFloat16": walkedGroups},
	}, {
		Name: "RowValuesInt8",
		Params: []Param{{"o", vector, write("rows*tile.Pad(v.Dim)")}, {"p", vector, read("rows", "v.Len", "tile.Keys")},
			{"sum", vector, write("rows")}, {"rows", integer, value}, {"v", octet, read()}},
		Hints: map[string][]string{"rowValues1Int8": walkedGroups, "rowValues4Int8": walkedGroups},
	}, {
		Name: "MergeRow", Elements: "o",
		Params: []Param{{"acc", vector, write("len(o)")}, {"o", vector, read("len(o)")}, {"a", float, value}, {"b", float, value}},
	}, {
		Name: "GradWeight", Width: "p.Dim",
		Params: []Param{{"p", rows, write()}, {"s", vector, read("p.Len*PanelWidth")}, {"max", floats, read()}, {"inverse", floats, read()}},
	}, {
		Name: "GradTile", Width: "ds.Dim",
		Params: []Param{{"ds", rows, write()}, {"p", rows, read()}, {"do", vector, read("v.Dim*PanelWidth")}, {"start", floats, read()},
			{"v", rows, read()}},
	}, {
		Name: "GradDrop", Width: "ds.Dim",
		Params: []Param{{"ds", rows, write()}, {"p", rows, read()}, {"start", floats, read()}, {"lanes", bits, read()}},
	}, {
		Name: "GradCap", Width: "ds.Dim",
		Params: []Param{{"ds", rows, write()}, {"s", vector, read("ds.Len*PanelWidth")}, {"inverse", float, value}},
	}, {
		Name: "ClearTile", Width: "x.Dim",
		Params: []Param{{"x", rows, write()}, {"lanes", bits, read()}},
	}, {
		Name: "RowsTile", Width: "c.Dim",
		Params: []Param{{"c", rows, write()}, {"a", rows, read()}, {"b", rows, read()}, {"ahead", rows, value}},
		Hints:  map[string][]string{"rowsTile": aheadRows},
	}, {
		Name: "ColsTile", Width: "c.Dim",
		Params: []Param{{"c", rows, write()}, {"a", rows, read()}, {"b", rows, read()}},
	}, {
		Name: "Rotary", Wide: "interleaved",
		Note:   "AVX-512 is faster only where there is something to shuffle: halves are loads and stores.",
		Params: []Param{{"x", rows, write()}, {"cos", rows, read()}, {"sin", rows, read()}, {"interleaved", flag, value}},
	},
}
