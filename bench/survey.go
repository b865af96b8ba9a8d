package main

import (
	"errors"
	"maps"
	"slices"

	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
)

// A subject is what an implementation makes of each kind of input, of which a table has one number.
type subject struct {
	name, version string
	what          string // "" is outputs of what all implementations are asked for
	number        func(r *fuzz.Result) float64
	of            fuzz.Implementation
}

func ofOutput(r *fuzz.Result) float64   { return r.Output }
func ofLSE(r *fuzz.Result) float64      { return r.LSE }
func ofGradient(r *fuzz.Result) float64 { return r.Gradient }

// subject is the outputs of i with what all implementations are asked for.
func (i impl) subject() subject {
	return subject{i.name, i.version, "", ofOutput, fuzz.Implementation{Takes: surveyed, Order: common, Attention: i.surveyed}}
}

// edited are the features beyond surveyed that PyTorch has.
const edited = surveyed | fuzz.Batches | fuzz.ValueDims | fuzz.Scales | fuzz.Masks | fuzz.Biases

// A solver sets results of a case by their names, those of peers/peer.py; with lse one of them is lse.
type solver func(c *fuzz.Case, lse bool, results map[string][]float32) error

// subjects are outputs with options, and with gradients also log-sum-exps, of the features sums, and gradients.
func (s solver) subjects(name, version string, takes, sums fuzz.Features, gradients bool) []subject {
	implementation := func(takes fuzz.Features, lse bool) fuzz.Implementation {
		return fuzz.Implementation{Takes: takes, Order: common, Attention: func(out []float32, c *fuzz.Case) error {
			return s(c, lse, map[string][]float32{"out": out})
		}}
	}
	all := []subject{{name, version, "options", ofOutput, implementation(takes, false)}}
	if !gradients {
		return all
	}
	log, slopes := implementation(sums, true), implementation(takes, false)
	log.LSE = func(lse []float32, c *fuzz.Case) error { return s(c, true, map[string][]float32{"lse": lse}) }
	slopes.Gradient = func(dq, dk, dv []float32, c *fuzz.Case) error {
		return s(c, false, map[string][]float32{"dq": dq, "dk": dk, "dv": dv})
	}
	slopes.EditGradient = func(dbias, _, _ []float32, c *fuzz.Case) error {
		if c.Bias == nil {
			return nil
		}
		return s(c, false, map[string][]float32{"dbias": dbias})
	}
	return append(all, subject{name, version, "log-sum-exp", ofLSE, log}, subject{name, version, "gradients", ofGradient, slopes})
}

// subjects are those of a library in Python that has options.
func (c *child) subjects(i impl) []subject {
	switch i.name {
	case "torch":
		return solver(c.solve).subjects(i.name, i.version, edited, edited&^fuzz.ValueDims, true)
	case "ort-gqa":
		return solver(c.solve).subjects(i.name, i.version, (edited|fuzz.SoftCaps)&^fuzz.ValueDims, 0, false)
	case "ort-attention":
		return solver(c.solve).subjects(i.name, i.version, edited|fuzz.SoftCaps, 0, false)
	}
	return nil
}

// solve is a solver in another process.
func (c *child) solve(x *fuzz.Case, lse bool, results map[string][]float32) error {
	operands := map[string][]float32{"q": x.Q, "k": x.K, "v": x.V}
	if x.Bias != nil {
		operands["bias"] = x.Bias
	}
	if x.DO != nil {
		operands["do"] = x.DO
	}
	if x.Mask != nil {
		mask := make([]float32, len(x.Mask))
		for i, visible := range x.Mask {
			if visible {
				mask[i] = 1
			}
		}
		operands["mask"] = mask
	}
	err := c.exchange(request{Case: &caseShape{
		Batch: x.Batch, Heads: x.Heads, KVHeads: x.KVHeads, Queries: x.Queries, Keys: x.Keys, Dim: x.Dim, VDim: x.VDim,
		Scale: x.Scale, SoftCap: x.SoftCap, Causal: x.Causal, Workers: 1, LSE: lse, Inputs: slices.Collect(maps.Keys(operands)),
	}}, operands, results)
	if errors.Is(err, errUnsupported) {
		return errors.ErrUnsupported
	}
	return err
}

// ourSubjects are those of package kernel.
func ourSubjects() []subject {
	return solver(solve).subjects(selected.name, "", edited|fuzz.SoftCaps, edited|fuzz.SoftCaps, true)
}

// solve is the solver that package kernel is.
func solve(x *fuzz.Case, _ bool, results map[string][]float32) error {
	n := x.Batch * x.Heads * x.Queries
	o := &kernel.Options{Scale: x.Scale, SoftCap: x.SoftCap, Causal: x.Causal, Workers: 1, LSE: results["lse"], Stats: make([]float32, 2*n)}
	batch, head, query := x.Heads*x.Queries*x.Keys, x.Queries*x.Keys, x.Keys
	if x.Bias != nil {
		o.Bias = &kernel.Bias{Data: x.Bias, BatchStride: batch, HeadStride: head, QueryStride: query}
	}
	if x.Mask != nil {
		o.Mask = &kernel.Mask{Data: x.Mask, BatchStride: batch, HeadStride: head, QueryStride: query}
	}
	tensor := func(data []float32, heads, n, dim int) kernel.Tensor {
		return kernel.Tensor{Data: data, Batch: x.Batch, Heads: heads, Len: n, Dim: dim}
	}
	g := &kernel.Gradient{
		Q: tensor(x.Q, x.Heads, x.Queries, x.Dim), K: tensor(x.K, x.KVHeads, x.Keys, x.Dim), V: tensor(x.V, x.KVHeads, x.Keys, x.VDim),
		O: tensor(results["out"], x.Heads, x.Queries, x.VDim), DO: tensor(x.DO, x.Heads, x.Queries, x.VDim), Stats: o.Stats, DBias: results["dbias"],
	}
	if g.O.Data == nil {
		g.O.Data = make([]float32, n*x.VDim)
	}
	if err := kernel.Attention(g.O, g.Q, g.K, g.V, o); err != nil || results["dq"] == nil && g.DBias == nil {
		return err
	}
	if results["dq"] != nil {
		g.DQ, g.DK, g.DV = g.Q, g.K, g.V
		g.DQ.Data, g.DK.Data, g.DV.Data = results["dq"], results["dk"], results["dv"]
	}
	return kernel.AttentionGradient(g, o)
}
