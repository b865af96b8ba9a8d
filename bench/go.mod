module github.com/selfattn/attn/bench

go 1.24

require (
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794
	github.com/selfattn/attn v0.0.0
	github.com/stretchr/testify v1.11.1
)

require (
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

replace github.com/selfattn/attn => ../
