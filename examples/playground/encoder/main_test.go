package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image/png"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/examples/internal/npm"
	"github.com/selfattn/attn/examples/internal/wheel/wheeltest"
	playground "github.com/selfattn/attn/examples/playground/internal/page"
	"github.com/selfattn/attn/kernel"
)

var screenshots = flag.String("screenshots", "", "a `folder` to write a picture of each step to")

// steps are the ids of the page's steps.
var steps = []string{"meanings", "mixing", "shares", "dots", "first", "roles", "numbers", "masks", "far", "cost", "meaning", "map", "heads", "learning"}

// A tab is the page in a browser.
type tab struct {
	*testing.T
	ctx context.Context

	mutex sync.Mutex
	wrong []string // errors of scripts, and requests to others than the server
}

// open opens the page, with the real encoder if it is given.
func open(t *testing.T, encoder playground.Encoder, width, height int64) *tab {
	t.Helper()
	s, err := playground.New("", encoder)
	if err != nil {
		t.Fatal(err)
	}
	return visit(t, s.Handler(), width, height)
}

// visit opens the page that a server has.
func visit(t *testing.T, server http.Handler, width, height int64) *tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("NOT RUN: there is no browser (Debian: chromium)")
	}
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WSURLReadTimeout(time.Minute), chromedp.WindowSize(int(width), int(height)))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to be root in a sandbox
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{T: t, ctx: ctx}
	host := strings.TrimPrefix(web.URL, "http://")
	chromedp.ListenTarget(ctx, func(event any) {
		problem := ""
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			problem = "exception: " + e.ExceptionDetails.Error()
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError {
				problem = fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err != nil || u.Host != host && u.Scheme != "data" && u.Scheme != "about" {
				problem = "a request for " + e.Request.URL
			}
		}
		if problem != "" {
			b.mutex.Lock()
			b.wrong = append(b.wrong, problem)
			b.mutex.Unlock()
		}
	})
	b.do(network.Enable(), log.Enable(), runtime.Enable(), emulation.SetDeviceMetricsOverride(width, height, 1, width < 500),
		chromedp.Navigate(web.URL), chromedp.WaitVisible("#about"))
	t.Cleanup(func() {
		b.mutex.Lock()
		defer b.mutex.Unlock()
		for _, problem := range b.wrong {
			t.Error(problem)
		}
	})
	return b
}

func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// encoders are none, and the real one where its model is.
func encoders() []playground.Encoder {
	all := []playground.Encoder{nil}
	if m, err := minilm.Load("../../encoder/model"); err == nil {
		all = append(all, encoder{m})
	}
	return all
}

// js evaluates an expression, which may be a promise, into result.
func (b *tab) js(expression string, result any) {
	b.Helper()
	b.do(chromedp.Evaluate(expression, result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// step brings a step into sight and waits for its numbers.
func (b *tab) step(id string) {
	b.Helper()
	b.js(fmt.Sprintf("document.getElementById(%q).scrollIntoView({behavior: 'instant'})", id), nil)
	b.until(fmt.Sprintf("document.querySelector('#%s[data-ready]') !== null", id))
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.Helper()
	for begin := time.Now(); ; time.Sleep(30 * time.Millisecond) {
		var is bool
		b.js(expression, &is)
		if is {
			return
		}
		if time.Since(begin) > 30*time.Second {
			var status string
			b.js("[...document.querySelectorAll('.status')].map(s => s.textContent).join('')", &status)
			b.Fatalf("%s: not after 30 s; %s", expression, status)
		}
	}
}

// numbers are those that elements show, as the server sent them.
func (b *tab) numbers(selector string) []float32 {
	b.Helper()
	var texts []string
	b.js(fmt.Sprintf("[...document.querySelectorAll(%q)].map(e => e.dataset.value)", selector), &texts)
	x := make([]float32, len(texts))
	for i, text := range texts {
		if text == "hidden" {
			x[i] = float32(math.Inf(-1))
		} else if _, err := fmt.Sscan(text, &x[i]); err != nil {
			b.Fatalf("%s: %q: %v", selector, text, err)
		}
	}
	return x
}

// set sets a control and tells its listeners.
func (b *tab) set(id, property string, value any) {
	b.Helper()
	v, _ := json.Marshal(value)
	b.js(fmt.Sprintf("{ const e = document.getElementById(%q); e[%q] = %s; e.dispatchEvent(new Event('input', {bubbles: true})); }", id, property, v), nil)
}

// equal compares what a step shows with what kernel gives, to the bit.
func (b *tab) equal(step string, got, want []float32) {
	b.Helper()
	if len(got) != len(want) {
		b.Fatalf("%s shows %d numbers, want %d", step, len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			b.Errorf("%s: number %d is %v, want %v", step, i, got[i], want[i])
		}
	}
}

// TestEachStep visits each step, and compares what it shows with package kernel.
func TestEachStep(t *testing.T) {
	b := open(t, nil, 1100, 900)
	for _, id := range steps {
		b.step(id)
	}
	var about string
	b.js("document.getElementById('about').textContent", &about)
	if !strings.Contains(about, kernel.Backend()+" on "+goruntime.GOARCH) {
		t.Errorf("the page says %q, and the backend is %s", about, kernel.Backend())
	}
	softmax := func(scores ...float32) []float32 {
		w := make([]float32, len(scores))
		kernel.Softmax(w, scores)
		return w
	}
	b.step("shares")
	b.equal("shares", b.numbers("#shares-result dd[data-value]"), softmax(1, 3, 6))
	b.set("shares-score-0", "value", 4)
	b.step("shares")
	b.until("document.querySelector('#shares-result dt').textContent === '4'")
	b.equal("shares", b.numbers("#shares-result dd[data-value]"), softmax(4, 3, 6))

	// The words, their dot products, and attention among them: without a mask, and causal with a word hidden.
	voc, err := glove.Load()
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"we", "love", "apple", "phones"}
	data, err := voc.Embed(words)
	if err != nil {
		t.Fatal(err)
	}
	x := kernel.Matrix{Rows: 4, Cols: glove.Dim, Stride: glove.Dim, Data: data}
	tokens := kernel.Tensor{Data: data, Len: 4, Dim: glove.Dim}
	square := func(f func(kernel.Matrix) error) []float32 {
		m := kernel.Matrix{Rows: 4, Cols: 4, Stride: 4, Data: make([]float32, 16)}
		if err := f(m); err != nil {
			t.Fatal(err)
		}
		return m.Data
	}
	shares := func(o kernel.Options) []float32 {
		return square(func(m kernel.Matrix) error {
			return kernel.AttentionWeights(m, tokens, tokens, 0, 0, []int{0, 1, 2, 3}, &o)
		})
	}
	dots := square(func(m kernel.Matrix) error { return kernel.MatMul(m, x, x, &kernel.MatMulOptions{TransB: true}) })
	b.step("dots")
	b.equal("dots", b.numbers("#dots-table td[data-value]"), dots)
	b.step("roles")
	b.equal("roles", b.numbers("#roles-dots td[data-value]"), dots)
	b.step("first")
	for i, scale := range []float32{1, 0.1, 0.01} {
		b.js(fmt.Sprintf("document.querySelectorAll('#first-scale input')[%d].click()", i), nil)
		b.step("first")
		b.equal("first", b.numbers("#first-weights td[data-value]"), shares(kernel.Options{Scale: scale}))
	}
	// A mix, and what it is nearest to.
	b.step("mixing")
	for i, w := range []float32{0, 0.5, 0.25, 0.25} {
		b.set(fmt.Sprintf("mixing-sliders-%d", i), "value", w)
	}
	mix := make([]float32, glove.Dim)
	if err := kernel.MatMul(kernel.Matrix{Rows: 1, Cols: glove.Dim, Stride: glove.Dim, Data: mix},
		kernel.Matrix{Rows: 1, Cols: 4, Stride: 4, Data: []float32{0, 0.5, 0.25, 0.25}}, x, nil); err != nil {
		t.Fatal(err)
	}
	var near []float32
	for _, word := range voc.Nearest(mix, words, 6) {
		near = append(near, float32(glove.Cosine(mix, voc.Vectors[word])))
	}
	b.until("document.querySelector('#mixing-sliders output:last-of-type').dataset.value === '0.25'")
	b.equal("mixing", b.numbers("#mixing-nearest dd[data-value]"), near)

	// A far word gets a share, which a slope takes.
	b.step("far")
	far := b.numbers("#far-result b")
	if !(far[0] > 2*far[1] && far[1] > 0) {
		t.Errorf("far: phones gets %v and another word %v", far[0], far[1])
	}
	b.set("far-slope", "value", 0.1)
	b.step("far")
	if near := b.numbers("#far-result b"); !(near[0] < far[0]/1000) {
		t.Errorf("far: phones gets %v with a slope, and %v without", near[0], far[0])
	}

	// Another sentence reaches the steps that are about it.
	b.set("sentence", "value", "we love xyzzy apple juice")
	b.until("document.querySelector('#sentence-note').textContent.includes('xyzzy')")
	b.step("dots")
	var heads []string
	b.js("[...document.querySelectorAll('#dots-table thead th')].map(e => e.textContent)", &heads)
	if got := strings.Join(heads, " "); got != "we love apple juice" {
		t.Errorf("dots has the words %q", got)
	}

	// By keyboard: from a cell to its neighbour, which is the pair that is shown then.
	b.do(chromedp.Focus("#dots-table td[tabindex='0']"), chromedp.KeyEvent(kb.ArrowLeft))
	b.until("document.querySelector('#dots-pair p').textContent.startsWith('apple · apple')")

	// A number beyond the limit is refused in words, and the step recovers.
	b.step("shares")
	b.set("shares-score-0", "value", 1e6)
	b.until("document.querySelector('#shares .status').textContent.includes('want numbers from')")
	b.set("shares-score-0", "value", 1)
	b.step("shares")
	b.mutex.Lock()
	var left []string
	for _, w := range b.wrong {
		if !strings.Contains(w, "400") { // the refusal, which the browser's log has
			left = append(left, w)
		}
	}
	b.wrong = left
	b.mutex.Unlock()
}

// TestLearning trains, pauses and begins anew.
func TestLearning(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.step("learning")
	count := "parseInt(document.querySelector('#learning-count').textContent.slice(5))"
	b.do(chromedp.Click("#learning-run"))
	b.until(count + " >= 60")
	b.do(chromedp.Click("#learning-run"))
	b.until("document.querySelector('#learning-run').textContent === 'Start'")
	var at, later int
	b.js(count, &at)
	time.Sleep(200 * time.Millisecond)
	b.js(count, &later)
	if at != later {
		t.Errorf("it goes on after a pause: from step %d to %d", at, later)
	}
	var loss float64
	b.js("+document.querySelector('#learning-count').dataset.value", &loss)
	if !(loss < 0.3) {
		t.Errorf("the loss is %v after %d steps", loss, at)
	}
	b.do(chromedp.Click("#learning-seed"))
	b.until(count + " === 0")
	b.do(chromedp.Click("#learning-run"))
	b.until(count + " > 0")
	b.step("meanings")
	b.until("document.querySelector('#learning-run').textContent === 'Start'")
	if b.js(count, &at); at >= 400 {
		t.Error("it goes on to its last step though nobody looks")
	}
}

// TestEncoder shows all heads of the real encoder, with the weights that it has.
func TestEncoder(t *testing.T) {
	m := minilmtest.Model(t, "../../encoder/model")
	b := open(t, encoder{m}, 1100, 900)
	b.step("heads")
	var heads int
	b.js("document.querySelectorAll('#heads-all button').length", &heads)
	if heads != minilm.Layers*minilm.Heads {
		t.Errorf("%d heads, want %d", heads, minilm.Layers*minilm.Heads)
	}
	r, err := m.Read("we love apple phones", 24)
	if err != nil {
		t.Fatal(err)
	}
	n := len(r.Tokens)
	b.heads(r.Weights, n)
	b.do(chromedp.Click("#heads-all .layer:nth-child(3) button:nth-of-type(5)"), chromedp.Click("#heads-words button:nth-child(4)"))
	b.equal("heads", b.numbers("#heads-words button"), r.Weights[2][4][3*n:][:n])
	b.step("meaning")
	var lines int
	b.js("document.querySelectorAll('#meaning-between tbody tr').length", &lines)
	if lines != minilm.Layers+1 {
		t.Errorf("meaning has %d layers, want %d", lines, minilm.Layers+1)
	}
	b.meaning(func(text string) ([]string, [][][]float32) {
		r, err := m.Read(text, 24)
		if err != nil {
			t.Fatal(err)
		}
		return r.Tokens, r.Vectors
	})
}

// TestNarrow shows that nothing but what scrolls by itself is wider than a telephone.
func TestNarrow(t *testing.T) {
	for _, e := range encoders() {
		narrow(t, e)
	}
}

func narrow(t *testing.T, e playground.Encoder) {
	b := open(t, e, 360, 700)
	if e != nil {
		b.do(chromedp.Click("#words-minilm"))
	}
	for _, id := range steps {
		b.step(id)
		var wide string
		b.js("document.documentElement.scrollWidth > 360 ? [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361 && !e.closest('.scroll, .skip, svg')).map(e => e.tagName + '#' + e.id + '.' + e.className).join(' ') || 'something' : ''", &wide)
		if wide != "" {
			t.Errorf("at step %s the page is wider than 360 pixels: %.300s", id, wide)
		}
	}
	// Names in pictures are clear of each other and of points. Letters are less high than their boxes.
	for _, picture := range []string{"map-picture", "cost-chart"} {
		var touching []string
		b.js(fmt.Sprintf(`(() => {
			const box = (e, less) => { const b = e.getBBox(); return {e, left: b.x, right: b.x + b.width, top: b.y + less, bottom: b.y + b.height - less}; };
			const names = [...document.querySelectorAll('#%[1]s text')].map(e => box(e, 3));
			const dots = [...document.querySelectorAll('#%[1]s circle:not(.ring)')].map(e => box(e, 0));
			return names.flatMap(a => [...names, ...dots].filter(b => a !== b && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
				.map(b => a.e.textContent + ' touches ' + (b.e.textContent || 'a point')));
		})()`, picture), &touching)
		for _, what := range touching {
			t.Errorf("%s: %s", picture, what)
		}
	}
}

// TestAccessible asks axe-core about all steps, in light and in dark.
func TestAccessible(t *testing.T) {
	script := axe(t)
	for _, e := range encoders() {
		accessible(t, script, e)
	}
}

func accessible(t *testing.T, script string, e playground.Encoder) {
	b := open(t, e, 1100, 900)
	if e != nil {
		b.do(chromedp.Click("#words-minilm"))
	}
	for _, scheme := range []string{"light", "dark"} {
		b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
		for _, id := range steps {
			b.step(id)
		}
		b.js(script+"; 0", nil)
		var found []struct {
			ID, Impact, Help string
			Nodes            []struct{ HTML, FailureSummary string }
		}
		b.js("axe.run().then(r => r.violations)", &found)
		for _, v := range found {
			t.Errorf("%s: %s (%s): %s: %.200s: %.300s", scheme, v.ID, v.Impact, v.Help, v.Nodes[0].HTML, v.Nodes[0].FailureSummary)
		}
	}
}

// axe returns the script of axe-core, which judges accessibility. Its licence is MPL-2.0. The test is skipped where it cannot be had.
func axe(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	wheeltest.Fetch(t, filepath.Join(folder, "axe.min.js"), folder, npm.Package{
		Name:   "axe-core@4.14.1",
		Digest: "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
		Files:  []string{"package/axe.min.js"},
	}.Fetch)
	script, err := os.ReadFile(filepath.Join(folder, "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// TestScreenshots writes a picture of each step, where -screenshots says so.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("NOT RUN: -screenshots is not given")
	}
	all := encoders()
	e := all[len(all)-1]
	for _, view := range []struct {
		name, scheme string
		width        int64
	}{{"", "light", 900}, {"dark-", "dark", 900}, {"narrow-", "light", 360}} {
		b := open(t, e, view.width, 1000)
		b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: view.scheme}}))
		b.js("document.querySelector('.sentence').style.position = 'static'", nil)
		for _, id := range steps {
			b.step(id)
			switch id {
			case "cost":
				for _, n := range []float64{5, 6, 7, 9, 10, 11, 12, 13} {
					b.set("cost-tokens", "value", n)
					b.step(id)
				}
			case "map":
				b.do(chromedp.Click("#map-attention"))
			case "learning":
				b.do(chromedp.Click("#learning-run"))
				b.until("parseInt(document.querySelector('#learning-count').textContent.slice(5)) >= 80")
				b.do(chromedp.Click("#learning-run"))
			}
			time.Sleep(500 * time.Millisecond)
			var box struct{ X, Y, Width, Height float64 }
			b.js(fmt.Sprintf("(() => { const b = document.getElementById(%q).getBoundingClientRect(); return {X: b.left + scrollX, Y: b.top + scrollY, Width: b.width, Height: b.height}; })()", id), &box)
			var data []byte
			b.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
				data, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).WithClip(&page.Viewport{
					X: box.X - 8, Y: box.Y, Width: box.Width + 16, Height: box.Height + 8, Scale: 1}).Do(ctx)
				return err
			}))
			if _, err := png.Decode(bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(*screenshots, view.name+id+".png"), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
