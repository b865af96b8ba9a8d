// Package stages computes attention: the stages that every query goes through, in both layouts, and the
// call that walks over them. A query row goes
//
//	rows -> score -> edit -> hide -> weigh -> mix -> merge
//
// for each tile of keys. rows are the keys and values of the tile, from package source; score compares the
// query with the keys; edit caps and biases scores (edit.go); hide takes back the scores of keys that package
// sight says it does not see; weigh turns scores into exponentials; mix adds up the values by their weights;
// merge adds the tile to those of its span before it, and a span that ends to those before (span.go). The layouts are
// panel.go and rows.go; whoever wants less than the output stops before weigh or mix (weights.go). What is computed by
// which layout is decided in package plan. Calls that are over before a plan would be made go straight through the
// kernels (short.go).
//
// What may enter: loops over tiles, and calls of assembly, each for at most 0.1 ms, as assembly is not
// preempted. Arguments have been checked.
package stages
