module github.com/selfattn/attn/examples/generate

go 1.24.3

require github.com/selfattn/attn v0.0.0

require golang.org/x/sys v0.39.0 // indirect

replace github.com/selfattn/attn => ../../
