// Package modelled is the form of what command model writes and command bench reads: what models predict for CPUs, beside what
// was measured where one of them is at hand. A prediction is no measurement, and is never shown as one.
package modelled

import (
	"fmt"
	"time"
)

// A Report is of one run of command model. Zero numbers are of what was not asked for.
type Report struct {
	Date       time.Time   `json:"date"`
	LLVM       string      `json:"llvm"`
	OSACA      string      `json:"osaca,omitempty"`
	Loops      []Loop      `json:"loops"`
	Attentions []Attention `json:"attentions,omitempty"`
}

// A Loop is the inner loop of a kernel on a CPU: fractions of the FMA peak.
type Loop struct {
	Set      string  `json:"set"`
	CPU      string  `json:"cpu"`
	Model    string  `json:"model"` // LLVM's name of the table
	Bits     int     `json:"bits"`  // of the FMAs that it was given
	FMAs     float64 `json:"fmas"`  // of a cycle at the peak of both the CPU and the model
	Kernel   string  `json:"kernel"`
	LLVM     float64 `json:"llvmFraction"`
	OSACA    float64 `json:"osacaFraction,omitempty"`
	Unknown  bool    `json:"unknown,omitempty"`  // OSACA's table lacks instructions of it
	Measured float64 `json:"measured,omitempty"` // on the CPU at hand
}

// An Attention is a whole one, of one head on one core: fractions of the FMA peak.
type Attention struct {
	Set          string  `json:"set"`
	CPU          string  `json:"cpu"`
	Where        string  `json:"where"` // a machine that has this CPU
	GHz          float64 `json:"ghz"`
	Tokens       int     `json:"tokens"`
	Dim          int     `json:"dim"`
	Peak         float64 `json:"peak"`         // GFLOP/s
	Instructions float64 `json:"instructions"` // executed
	Modelled     float64 `json:"modelled"`     // the share of them that the model was given
	FromL2       float64 `json:"fromL2"`       // lines that miss L1
	Beyond       float64 `json:"beyond"`       // lines that miss L2
	Compute      float64 `json:"compute"`      // if every load is a hit in L1
	OSACA        float64 `json:"osaca,omitempty"`
	Unknown      bool    `json:"unknown,omitempty"`
	Least        float64 `json:"least"` // if nothing is computed while lines come
	Most         float64 `json:"most"`  // if all that can be is
	Measured     float64 `json:"measured,omitempty"`
}

// Range is the speed that is expected, in GFLOP/s.
func (a Attention) Range() string { return fmt.Sprintf("%.0f to %.0f", a.Least*a.Peak, a.Most*a.Peak) }

// Check is what was measured, as a fraction of the FMA peak.
func (a Attention) Check() string {
	if a.Measured == 0 {
		return "by nobody yet"
	}
	return fmt.Sprintf("%.2f", a.Measured)
}

// Bracket is OSACA's prediction behind that of LLVM, with a ? where it lacks instructions, or nothing.
func Bracket(osaca float64, unknown bool) string {
	switch {
	case osaca == 0:
		return ""
	case unknown:
		return fmt.Sprintf(" (%.2f?)", osaca)
	}
	return fmt.Sprintf(" (%.2f)", osaca)
}
