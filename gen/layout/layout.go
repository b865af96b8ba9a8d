// Package layout is where the fields of tile.Panel and tile.Draw are, in bytes from its start.
package layout

import (
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
)

// Offsets of the fields of a Panel of the same name.
const (
	TileMax  = int(unsafe.Offsetof(tile.Panel{}.TileMax))
	Max      = int(unsafe.Offsetof(tile.Panel{}.Max))
	Sum      = int(unsafe.Offsetof(tile.Panel{}.Sum))
	OldScale = int(unsafe.Offsetof(tile.Panel{}.OldScale))
	NewScale = int(unsafe.Offsetof(tile.Panel{}.NewScale))
	Mode     = int(unsafe.Offsetof(tile.Panel{}.Mode))
)

// Offsets of the fields of a Draw.
const (
	DrawBelow = int(unsafe.Offsetof(tile.Draw{}.Below))
	DrawKeys  = int(unsafe.Offsetof(tile.Draw{}.Keys))
	DrawQuery = int(unsafe.Offsetof(tile.Draw{}.Query))
	DrawHead  = int(unsafe.Offsetof(tile.Draw{}.Head))
	DrawBatch = int(unsafe.Offsetof(tile.Draw{}.Batch))
)
