// Package layout is where the fields of tile.Panel are, in bytes from its start.
package layout

import (
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
)

// Offsets of the fields of the same name.
const (
	TileMax  = int(unsafe.Offsetof(tile.Panel{}.TileMax))
	Max      = int(unsafe.Offsetof(tile.Panel{}.Max))
	Sum      = int(unsafe.Offsetof(tile.Panel{}.Sum))
	OldScale = int(unsafe.Offsetof(tile.Panel{}.OldScale))
	NewScale = int(unsafe.Offsetof(tile.Panel{}.NewScale))
	Mode     = int(unsafe.Offsetof(tile.Panel{}.Mode))
)
