package page

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
)

// Main is the program: it serves the page until ctx is done, and returns its exit status. load, if it is not nil, loads the
// encoder from a folder.
func Main(ctx context.Context, args []string, out io.Writer, load func(folder string) (Encoder, error)) int {
	err := run(ctx, args, out, load)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 2
	}
	fmt.Fprintln(os.Stderr, "playground:", err)
	return 1
}

func run(ctx context.Context, args []string, out io.Writer, load func(folder string) (Encoder, error)) error {
	flags := flag.NewFlagSet("playground", flag.ContinueOnError)
	address := flags.String("address", "localhost:8042", "where to serve; whoever reaches it can make this machine work")
	open := flags.Bool("open", true, "open the page in a browser, where there is a desktop")
	var folder *string
	if load != nil {
		folder = flags.String("model", "../../encoder/model", "`folder` of the encoder's model")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var encoder Encoder
	if load != nil {
		var err error
		if encoder, err = load(*folder); err != nil {
			return fmt.Errorf("%w ('go run -C examples/encoder . fetch' downloads the model)", err)
		}
	}
	return Run(ctx, *address, encoder, func(url string) {
		fmt.Fprintln(out, "the page is at", url)
		if *open {
			openBrowser(url)
		}
	})
}

// openBrowser opens a page where there is a desktop, and does nothing where there is none.
func openBrowser(url string) {
	var command *exec.Cmd
	switch {
	case runtime.GOOS == "darwin":
		command = exec.Command("open", url)
	case runtime.GOOS == "windows":
		command = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	case os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "":
		command = exec.Command("xdg-open", url)
	default:
		return
	}
	if command.Start() == nil {
		go command.Wait()
	}
}
