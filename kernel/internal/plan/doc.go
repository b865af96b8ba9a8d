// Package plan decides how a call of attention is cut into items, which layout computes each of them, and
// what memory that takes: a pure function from shapes, options, the CPU's panels and the number of
// workers to a value that can be printed. Nothing here touches an element.
//
// There are two layouts. In a panel the queries are the lanes of vectors, and go through the tiles of
// keys together. Few queries go row by row: they share the reading of keys and values, at the
// speed of memory, where a panel would be mostly padding.
package plan
