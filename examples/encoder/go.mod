module github.com/selfattn/attn/examples/encoder

go 1.24.3

require (
	github.com/nlpodyssey/safetensors v0.0.0-20250209183917-bfb01cc25f7c
	github.com/selfattn/attn v0.0.0-00010101000000-000000000000
	golang.org/x/text v0.28.0
)

require golang.org/x/sys v0.30.0 // indirect

replace github.com/selfattn/attn => ../../
