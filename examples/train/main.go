// Train trains small models of attention with package kernel: one that recognizes digits, and one that predicts the characters
// of a text.
//
//	go run . digits
//	go run . text
//	go run . text -pictures testdata
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	switch name {
	case "digits":
		steps := flags.Int("steps", digitsSteps, "steps of training")
		if err := parse(flags, args, steps); err != nil {
			return err
		}
		return digits(out, *steps)
	case "text":
		steps := flags.Int("steps", textSteps, "steps of training")
		pictures := flags.String("pictures", "", "draw the loss, and the attention of a head, into this `folder`")
		if err := parse(flags, args, steps); err != nil {
			return err
		}
		return characters(ctx, out, *steps, *pictures)
	}
	return fmt.Errorf("%q is no command, want digits or text", name)
}

func parse(flags *flag.FlagSet, args []string, steps *int) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *steps < 1 {
		return fmt.Errorf("-steps is %d, want 1 or more", *steps)
	}
	return nil
}
