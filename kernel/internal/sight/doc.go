// Package sight answers which keys a query sees. Whatever hides a key by its position or by a mask (causality,
// windows, lengths, packing) enters here, and nothing else of the project compares the positions of queries
// and keys.
//
// The answer comes in three sizes: a [Rule] gives the keys of one query, [Lanes] hold those of the
// queries of a panel, and a [Cover] is what a panel sees of a tile.
package sight
