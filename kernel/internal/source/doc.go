// Package source is where the rows of queries, keys, values and outputs lie, and how those of a tile get
// to a kernel: in place, or copied where that is faster. Other places for keys and values, and elements that
// have to be converted, belong here.
package source
