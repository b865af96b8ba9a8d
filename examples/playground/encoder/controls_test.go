package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
	"github.com/selfattn/attn/examples/internal/glove"
	playground "github.com/selfattn/attn/examples/playground/internal/page"
	"github.com/selfattn/attn/kernel"
)

// A box is where an element is in the window.
type box struct{ X, Y, Width, Height float64 }

// box brings an element to the middle of the window.
func (b *tab) box(selector string) (r box) {
	b.Helper()
	b.js(fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		e.scrollIntoView({behavior: 'instant', block: 'center'});
		const r = e.getBoundingClientRect();
		return {X: r.x, Y: r.y, Width: r.width, Height: r.height};
	})()`, selector), &r)
	return r
}

// mouse moves it, or presses or releases its left button.
func (b *tab) mouse(event input.MouseType, x, y float64) {
	b.Helper()
	b.do(chromedp.MouseEvent(event, x, y, chromedp.ButtonLeft))
}

// TestCancelled shows that the server can stop whatever a visitor turns away from: at something else, at another step, at another
// page in front of this one, and at last.
func TestCancelled(t *testing.T) {
	s, err := playground.New("", nil)
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler()
	begun, cancelled := make(chan bool, 10), make(chan bool, 10)
	b := visit(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/cost" {
			h.ServeHTTP(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		begun <- true
		<-r.Context().Done()
		cancelled <- true
	}), 1100, 900)
	wait := func(what string, events chan bool) {
		t.Helper()
		select {
		case <-events:
		case <-time.After(30 * time.Second):
			t.Fatalf("not %s after 30 s", what)
		}
	}
	behind := func(is bool) {
		b.js(fmt.Sprintf("Object.defineProperty(document, 'hidden', {value: %v, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))", is), nil)
	}
	b.box("#cost")
	wait("begun", begun)
	b.set("cost-tokens", "value", 13)
	wait("cancelled by another N", cancelled)
	wait("begun with another N", begun)
	b.step("meanings")
	wait("cancelled by another step", cancelled)
	b.box("#cost")
	wait("begun when in sight again", begun)
	behind(true)
	wait("cancelled by another page", cancelled)
	behind(false)
	wait("begun when the page is in front again", begun)
	b.do(chromedp.Navigate("about:blank"))
	wait("cancelled by a visitor who leaves", cancelled)
}

// TestCost moves N up and down at once: what is asked for last is shown last.
func TestCost(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.step("cost")
	for _, n := range []float64{13, 4, 12.5, 7} {
		b.set("cost-tokens", "value", n)
	}
	b.step("cost")
	x := kernel.Tensor{Data: make([]float32, 128*64), Len: 128, Dim: 64}
	plan, err := kernel.Explain(x, x, x, nil)
	if err != nil {
		t.Fatal(err)
	}
	shown := b.numbers("#cost-result dd[data-value]")
	b.equal("cost", shown[:3], []float32{128 * 128, 4 * 128 * 128, float32(plan.Scratch)})
	var texts []string
	b.js("[...document.querySelectorAll('#cost-result dd')].map(e => e.textContent)", &texts)
	if want := []string{"16 384", "64 KiB", fmt.Sprintf("%.0f KiB", float64(plan.Scratch)/1024)}; !slices.Equal(texts[:3], want) {
		t.Errorf("cost shows %q, want %q", texts[:3], want)
	}
	for i, seconds := range shown[3:] {
		var number float64
		var unit string
		if _, err := fmt.Sscan(texts[3+i], &number, &unit); err != nil {
			t.Fatalf("cost shows the time %q: %v", texts[3+i], err)
		}
		size, ok := map[string]float64{"µs": 1e-6, "ms": 1e-3, "s": 1}[unit]
		if !ok || !(seconds > 0) || math.Abs(number*size-float64(seconds)) > 0.06*size {
			t.Errorf("cost shows %q for %v seconds", texts[3+i], seconds)
		}
	}
}

// TestCostDragged drags N by the mouse from 16 to 8192: each is timed and drawn, with the table where that is not too large.
func TestCostDragged(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.step("cost")
	last := 13.
	if kernel.Backend() == "generic" {
		last = 11 // a request has 10 s
	}
	slider := b.box("#cost-tokens")
	const thumb = 16
	at := func(n float64) float64 { return slider.X + thumb/2 + (n-4)/9*(slider.Width-thumb) }
	y := slider.Y + slider.Height/2
	fused, steps := 0, 0
	b.set("cost-tokens", "value", 4)
	b.mouse(input.MousePressed, at(4), y)
	for n := 4.; n <= last; n += 0.5 {
		b.mouse(input.MouseMoved, at(n), y)
		tokens := math.Round(math.Exp2(n))
		b.until(fmt.Sprintf("+document.querySelector('#cost-result dd')?.dataset.value === %v && document.querySelector('#cost[data-ready]') !== null", tokens*tokens))
		fused++
		if tokens <= 4096 {
			steps++
		}
	}
	b.mouse(input.MouseReleased, at(last), y)
	var circles []int
	var text string
	b.js("['.dot:not(.b)', '.dot.b'].map(c => document.querySelectorAll('#cost-chart circle' + c).length)", &circles)
	b.js("document.querySelector('#cost-result').textContent", &text)
	if circles[0] != fused || circles[1] != steps {
		t.Errorf("the chart has %v points, want %d and %d", circles, fused, steps)
	}
	if strings.Contains(text, "not tried") != (last == 13) {
		t.Errorf("at the last N: %q", text)
	}
}

// TestMixDragged drags weights of words: the ring on the map moves, and what the mix is near to changes.
func TestMixDragged(t *testing.T) {
	b := open(t, nil, 1100, 900)
	for _, c := range []struct{ step, input, shows string }{
		{"mixing", "#mixing-sliders-3", "document.querySelector('#mixing-nearest').textContent"},
		{"map", "#map-sliders-3", "document.querySelector('#map-picture svg').dataset.x"},
	} {
		b.step(c.step)
		slider := b.box(c.input)
		y := slider.Y + slider.Height/2
		b.mouse(input.MousePressed, slider.X+slider.Width/2, y)
		seen := map[string]bool{}
		for _, part := range []float64{0.5, 0.75, 0.98} {
			var was string
			b.js(c.shows, &was)
			seen[was] = true
			b.mouse(input.MouseMoved, slider.X+part*slider.Width, y)
			if part > 0.5 {
				b.until(fmt.Sprintf("%s !== %q", c.shows, was))
			}
		}
		b.mouse(input.MouseReleased, slider.X+0.98*slider.Width, y)
	}
}

// TestHeadsByPointer points at words and at rows of the enlarged head, which shows from whom they take, and copies pictures that
// stand alone.
func TestHeadsByPointer(t *testing.T) {
	b := open(t, nil, 1100, 900)
	x := kernel.Tensor{Data: b.embed("we", "love", "apple", "phones").Data, Heads: 4, Len: 4, Dim: 25, HeadStride: 25, LenStride: glove.Dim}
	w := make([]float32, 16)
	if err := kernel.AttentionWeights(dense(4, 4, w), x, x, 0, 0, []int{0, 1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	b.step("heads")
	for _, i := range []int{1, 0, 3, 2} {
		at := b.box(fmt.Sprintf("#heads-words button:nth-child(%d)", i+1))
		b.mouse(input.MouseMoved, at.X+at.Width/2, at.Y+at.Height/2)
		b.equal("heads, the words", b.numbers("#heads-words button"), w[4*i:][:4])
	}
	picture := b.box("#heads-one svg")
	var mark box // in the picture's own units, which are pixels here
	b.js("(() => { const r = document.getElementById('heads-row').getBBox(), v = document.querySelector('#heads-one svg').viewBox.baseVal; return {X: r.x, Y: r.y, Width: v.width, Height: r.height}; })()", &mark)
	unit := picture.Width / mark.Width
	top := mark.Y - 2*mark.Height // the last word that looks is the third
	for _, i := range []int{3, 0, 2, 1} {
		b.mouse(input.MouseMoved, picture.X+unit*(mark.X+5), picture.Y+unit*(top+(float64(i)+0.5)*mark.Height))
		b.equal("heads, the picture", b.numbers("#heads-words button"), w[4*i:][:4])
	}

	b.do(browser.GrantPermissions([]browser.PermissionType{browser.PermissionTypeClipboardReadWrite, browser.PermissionTypeClipboardSanitizedWrite}))
	for _, c := range []struct {
		button string
		heads  int
		want   string
	}{{"#heads-copy", 1, "apple"}, {"#heads-copy-all", 4, "layer 1"}} {
		b.js("document.getElementById('heads-copied').textContent = ''", nil)
		b.do(chromedp.Click(c.button))
		b.until("document.getElementById('heads-copied').textContent === 'Copied.'")
		var svg string
		b.js("navigator.clipboard.readText()", &svg)
		if !strings.Contains(svg, c.want) {
			t.Errorf("%s: %q is not in %.300s", c.button, c.want, svg)
		}
		frames, shades := 0, 0
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in %.300s", c.button, err, svg)
			}
			e, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			is := map[string]string{}
			for _, a := range e.Attr {
				is[a.Name.Local] = a.Value
			}
			if is["class"] != "" || is["style"] != "" {
				t.Errorf("%s: %v needs the page's style", c.button, e)
			}
			if e.Name.Local == "path" {
				if shades++; !strings.HasPrefix(is["fill"], "rgb(") || is["fill-opacity"] == "" {
					t.Errorf("%s: %v has no colour", c.button, e)
				}
			}
			if e.Name.Local == "rect" && strings.HasPrefix(is["stroke"], "rgb(") && is["id"] == "" {
				frames++
			}
		}
		if frames != c.heads || shades < c.heads {
			t.Errorf("%s: %d frames and %d shades of %d heads", c.button, frames, shades, c.heads)
		}
	}
}

// TestHandOver starts the program at the root of the repository, which has no encoder, and is served by this one.
func TestHandOver(t *testing.T) {
	minilmtest.Model(t, "../../encoder/model")
	if goruntime.GOOS == "windows" {
		t.Skip("NOT RUN: a process cannot be interrupted here")
	}
	binary := filepath.Join(t.TempDir(), "playground") // as go run makes it, which does not pass an interrupt on
	if said, err := exec.Command("go", "build", "-C", "../../..", "-o", binary, "./examples/playground").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	program := exec.CommandContext(t.Context(), binary, "-address", "localhost:0", "-open=false")
	program.Cancel = func() error { return program.Process.Signal(os.Interrupt) } // and it ends the one that it has started
	program.Dir = "../../.."
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err == nil {
		err = program.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var address string
	if _, err := fmt.Fscanf(out, "the page is at %s", &address); err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(address+"api/heads", "application/json", strings.NewReader(`{"text": "we love apple phones", "encoder": true}`))
	if err != nil {
		t.Fatal(err)
	}
	var heads struct{ Tokens []string }
	if err := errors.Join(json.NewDecoder(r.Body).Decode(&heads), r.Body.Close()); err != nil || len(heads.Tokens) != 6 {
		t.Errorf("%s, %v, %v", r.Status, heads, err)
	}
	if err := program.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("interrupted, it says %v", err)
	}
}
