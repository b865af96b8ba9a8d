// Package layout is where the fields of generic.Panel are, in bytes from its start.
package layout

import (
	"unsafe"

	"github.com/selfattn/attn/generic"
)

// Offsets of the fields of the same name.
const (
	TileMax  = int(unsafe.Offsetof(generic.Panel{}.TileMax))
	Max      = int(unsafe.Offsetof(generic.Panel{}.Max))
	Sum      = int(unsafe.Offsetof(generic.Panel{}.Sum))
	OldScale = int(unsafe.Offsetof(generic.Panel{}.OldScale))
	NewScale = int(unsafe.Offsetof(generic.Panel{}.NewScale))
	Mode     = int(unsafe.Offsetof(generic.Panel{}.Mode))
)
