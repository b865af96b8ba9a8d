// Package memory provides scratch memory that starts at cache lines and grows with slack, asks for huge pages,
// and clears and copies long vectors so that the world can stop meanwhile. Nothing here knows what the elements mean.
package memory
