package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
)

// A fake is a model whose vectors tell the tokens. Its calls wait while it is held, until their context is done.
type fake struct {
	mutex sync.Mutex
	calls [][][]int
	fail  func() error
	gate  sync.RWMutex
}

func (f *fake) embed(ctx context.Context, batch [][]int) ([][]float32, error) {
	f.mutex.Lock()
	f.calls = append(f.calls, batch)
	fail := f.fail
	f.mutex.Unlock()
	for !f.gate.TryRLock() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	defer f.gate.RUnlock()
	if fail != nil {
		return nil, fail()
	}
	var vectors [][]float32
	for _, ids := range batch {
		vectors = append(vectors, vectorOf(ids))
	}
	return vectors, nil
}

func (f *fake) count() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return len(f.calls)
}

// hold lets calls wait until release, or until the test ends.
func (f *fake) hold(t *testing.T) (release func()) {
	f.gate.Lock()
	release = sync.OnceFunc(f.gate.Unlock)
	t.Cleanup(release)
	return release
}

func vectorOf(ids []int) []float32 {
	v := make([]float32, minilm.Dim)
	for i, id := range ids {
		v[i%len(v)] += float32(id) + 1/float32(i+3)
	}
	return v
}

var testLimits = limits{Waiting: 8, Texts: 4, Batch: 3, Tokens: 12, Bytes: 4096}

// letters is a tokenizer whose tokens are the letters a to z, from 3 on.
func letters() (*minilm.Tokenizer, error) {
	vocabulary := "[UNK]\n[CLS]\n[SEP]\n"
	for c := 'a'; c <= 'z'; c++ {
		vocabulary += string(c) + "\n"
	}
	return minilm.ReadTokenizer(strings.NewReader(vocabulary))
}

// serving is a server on a fake and letters.
func serving(t *testing.T, l limits) (*fake, *server, string) {
	t.Helper()
	tokenizer, err := letters()
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	s := newServer(tokenizer, f.embed, l)
	h := httptest.NewServer(s.handler())
	t.Cleanup(func() { h.Close(); s.batcher.stop() })
	return f, s, h.URL
}

// eventually waits until what is soon true is.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

// post returns the status and the body of an answer.
func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(answer)
}

// TestOpenAIClient lets OpenAI's own client ask.
func TestOpenAIClient(t *testing.T) {
	_, _, url := serving(t, testLimits)
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))
	answer, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: modelName, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b c"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Data) != 2 || answer.Usage.TotalTokens != 7 || answer.Model != modelName {
		t.Fatalf("%+v", answer)
	}
	for i, ids := range [][]int{{1, 3, 2}, {1, 4, 5, 2}} {
		if answer.Data[i].Index != int64(i) || fmt.Sprint(answer.Data[i].Embedding) != fmt.Sprint(vectorOf(ids)) {
			t.Errorf("vector %d is another one", i)
		}
	}
	var problem *openai.Error
	_, err = client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: modelName, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: make([]string, 5)},
	})
	if !errors.As(err, &problem) || problem.StatusCode != 413 || problem.Type != "Validation" || !strings.Contains(problem.Message, "batch size 5") {
		t.Errorf("%v, want 413 and the batch size", err)
	}
}

// TestFormats asks for one vector in each way.
func TestFormats(t *testing.T) {
	_, _, url := serving(t, testLimits)
	want := vectorOf([]int{1, 3, 2})
	for _, in := range []string{`"a"`, `["a"]`, `[1, 3, 2]`, `[[1, 3, 2]]`} {
		status, body := post(t, url+"/embed", `{"inputs": `+in+`}`)
		var got [][]float32
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || len(got) != 1 || !slices.Equal(got[0], want) {
			t.Errorf("/embed of %s: %d %.80s %v", in, status, body, err)
		}
		for _, format := range []string{"float", "base64"} {
			status, body = post(t, url+"/v1/embeddings", `{"input": `+in+`, "encoding_format": "`+format+`"}`)
			var answer struct {
				Data []struct{ Embedding json.RawMessage }
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || len(answer.Data) != 1 {
				t.Fatalf("%s of %s: %d %.80s %v", format, in, status, body, err)
			}
			var floats []float32
			if format == "base64" {
				var b []byte
				if err := json.Unmarshal(answer.Data[0].Embedding, &b); err != nil {
					t.Fatal(err)
				}
				floats = decode(b)
			} else if err := json.Unmarshal(answer.Data[0].Embedding, &floats); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(floats, want) {
				t.Errorf("%s of %s is another vector", format, in)
			}
		}
	}
	// A text that is cut keeps its end.
	ids := slices.Concat([]int{1}, slices.Repeat([]int{3}, 510), []int{2})
	b, _ := json.Marshal(map[string]any{"inputs": strings.Repeat("a ", 600), "truncate": true})
	_, body := post(t, url+"/embed", string(b))
	if wanted, _ := json.Marshal([][]float32{vectorOf(ids)}); strings.TrimSpace(body) != string(wanted) {
		t.Error("a long text has another vector than its first 511 tokens and [SEP]")
	}
}

func decode(b []byte) []float32 {
	x := make([]float32, len(b)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return x
}

func TestErrors(t *testing.T) {
	f, s, url := serving(t, testLimits)
	check := func(path, body string, status int, kind, message string) {
		t.Helper()
		got, answer := post(t, url+path, body)
		if got != status || !strings.Contains(answer, `"`+kind+`"`) || !strings.Contains(answer, message) {
			t.Errorf("%s %.60s: %d %.200s, want %d, %s and %q", path, body, got, answer, status, kind, message)
		}
	}
	for path, field := range map[string]string{"/embed": "inputs", "/v1/embeddings": "input"} {
		one := func(x string) string { return `{"` + field + `": ` + x + `}` }
		check(path, one(`["a","b","c","d","e"]`), 413, "Validation", "batch size 5 > maximum allowed batch size 4")
		check(path, one(`[]`), 413, "Validation", "cannot be empty")
		check(path, one(`[[]]`), 413, "Validation", "cannot be empty")
		check(path, one(`[29]`), 413, "Validation", "token 29, want 0 to 28")
		check(path, one(`"`+strings.Repeat("a ", 511)+`"`), 413, "Validation", "at most 512 tokens. Given: 513")
		check(path, one(`"`+strings.Repeat("a", 5000)+`"`), 413, "Validation", "more than 4096 bytes")
		check(path, one(`{"a": 1}`), 422, "Tokenizer", "is no text")
		check(path, `{`, 422, "Tokenizer", "EOF")
		check(path, `{}`, 422, "Tokenizer", "missing field")
		f.mutex.Lock()
		f.fail = func() error { return errors.New("no luck") }
		f.mutex.Unlock()
		check(path, one(`"a"`), 424, "Backend", "no luck")
		f.mutex.Lock()
		f.fail = func() error { panic("a bug") }
		f.mutex.Unlock()
		check(path, one(`"a"`), 424, "Backend", "a bug")
		f.mutex.Lock()
		f.fail = nil
		f.mutex.Unlock()
		// One is computed and eight wait: there is no room for two more, nor for one.
		release := f.hold(t)
		var waiting sync.WaitGroup
		calls := f.count()
		for i := range 3 {
			waiting.Add(1)
			go func() {
				defer waiting.Done()
				if status, body := post(t, url+path, one([]string{`"a"`, `["a","b","c","d"]`, `["a","b","c","d"]`}[i])); status != 200 {
					t.Errorf("%d %s", status, body)
				}
			}()
			eventually(t, "a request is taken", func() bool { return f.count() > calls && s.batcher.size() == 4*i })
		}
		check(path, one(`"a"`), 429, "Overloaded", "model is overloaded")
		release()
		waiting.Wait()
	}
	check("/embed", `{"inputs": "a", "normalize": false}`, 413, "Validation", "normalize")
	check("/v1/embeddings", `{"input": "a", "encoding_format": "hex"}`, 422, "Tokenizer", "float or base64")
	check("/v1/embeddings", `{"input": "a", "dimensions": 100}`, 413, "Validation", "want 384")
	_, metrics := get(t, url+"/metrics")
	for _, want := range []string{`te_request_count{method="embed"} 16`, `te_request_failure{err="Overloaded"} 2`, `te_request_failure{err="Backend"} 4`, "te_queue_size 0", "process_cpu_seconds_total"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	if status, info := get(t, url+"/info"); status != 200 || !strings.Contains(info, `"max_client_batch_size":4`) {
		t.Errorf("%d %s", status, info)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// asking returns ask, which sends texts and returns when the server has taken them, and wait, which waits for what becomes of all:
// their vectors, or where a client leaves, that its request is canceled.
func asking(t *testing.T, f *fake, s *server, url string) (ask func(ctx context.Context, leaves bool, texts ...string), wait func()) {
	var done sync.WaitGroup
	return func(ctx context.Context, leaves bool, texts ...string) {
		t.Helper()
		size, calls := s.batcher.size(), f.count()
		body, err := json.Marshal(map[string]any{"inputs": texts})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(ctx, "POST", url+"/embed", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		done.Add(1)
		go func() {
			defer done.Done()
			response, err := http.DefaultClient.Do(request)
			if leaves {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%q: %v, want that it is canceled", texts, err)
				}
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			var want, got [][]float32
			for _, text := range texts {
				want = append(want, vectorOf(s.tokenizer.Encode(text)))
			}
			err = json.NewDecoder(response.Body).Decode(&got)
			if err != nil || response.StatusCode != 200 || !slices.EqualFunc(got, want, slices.Equal[[]float32]) {
				t.Errorf("%q: %d, %v, and not the vectors", texts, response.StatusCode, err)
			}
		}()
		eventually(t, "a request is taken", func() bool { return s.batcher.size() > size || f.count() > calls })
	}, done.Wait
}

// gone waits until the server knows that n clients are gone.
func gone(t *testing.T, url string, n int) {
	t.Helper()
	eventually(t, "the server knows that clients are gone", func() bool {
		_, metrics := get(t, url+"/metrics")
		return strings.Contains(metrics, fmt.Sprintf("te_request_failure{err=\"canceled\"} %d\n", n))
	})
}

// TestBatches holds a call until others wait, one of which nobody waits for any more, and wants them in as few calls as the
// limits allow: three texts, or twelve tokens.
func TestBatches(t *testing.T) {
	f, s, url := serving(t, testLimits)
	ask, wait := asking(t, f, s, url)
	release := f.hold(t)
	ask(t.Context(), false, "a")
	leaving, leave := context.WithCancel(t.Context())
	defer leave()
	ask(leaving, true, "x")
	for _, text := range []string{"b", "c", "d", "e f g h i", "j k l m n"} {
		ask(t.Context(), false, text)
	}
	leave()
	gone(t, url, 1)
	release()
	wait()
	want := "[[[1 3 2]] [[1 4 2] [1 5 2] [1 6 2]] [[1 7 8 9 10 11 2]] [[1 12 13 14 15 16 2]]]"
	if got := fmt.Sprint(f.calls); got != want {
		t.Errorf("calls of %s, want %s", got, want)
	}
}

// TestLeft lets clients leave while their texts are computed: the batch stops when the last has left, and not before.
func TestLeft(t *testing.T) {
	f, s, url := serving(t, testLimits)
	ask, wait := asking(t, f, s, url)
	release := f.hold(t)
	first, leaveFirst := context.WithCancel(t.Context())
	defer leaveFirst()
	second, leaveSecond := context.WithCancel(t.Context())
	defer leaveSecond()
	ask(first, true, "a", "b")
	ask(second, true, "c")
	ask(t.Context(), false, "d", "e")
	leaveFirst()
	eventually(t, "the next batch is computed, although the first was held", func() bool { return f.count() == 2 })
	leaveSecond()
	gone(t, url, 2)
	release()
	wait()
	if got, want := fmt.Sprint(f.calls), "[[[1 3 2] [1 4 2]] [[1 5 2] [1 6 2] [1 7 2]]]"; got != want {
		t.Errorf("calls of %s, want %s", got, want)
	}
}

// addressOfChild is the variable with which this program is a server on letters, and not a test.
const addressOfChild = "EMBEDSERVER_TEST_ADDRESS"

func TestMain(m *testing.M) {
	address := os.Getenv(addressOfChild)
	if address == "" {
		os.Exit(m.Run())
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) // until the test ends
		os.Exit(1)
	}()
	tokenizer, err := letters()
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	f := &fake{}
	s := newServer(tokenizer, func(ctx context.Context, ids [][]int) ([][]float32, error) {
		time.Sleep(2 * time.Millisecond) // clients wait, of whom a kill takes the answer
		return f.embed(ctx, ids)
	}, testLimits)
	panic(s.run(context.Background(), listener, os.Stdout))
}

// child starts a server in a process of its own, and returns where it listens.
func child(t *testing.T, address string) (*exec.Cmd, string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), addressOfChild+"="+address)
	c.Stderr = os.Stderr
	if _, err := c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return c, strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
}

// TestKilled kills a loaded server twice, and starts another on its address. Each client asks for text after text, for a
// text again where it got an error, and wants every vector that comes to be that of its text, whole.
func TestKilled(t *testing.T) {
	server, address := child(t, "127.0.0.1:0")
	const clients = 6
	var answers [clients]atomic.Int64
	var errs atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var done sync.WaitGroup
	for c := range clients {
		done.Add(1)
		go func() {
			defer done.Done()
			for ctx.Err() == nil {
				n := int(answers[c].Load())
				ids := []int{1, 3 + c, 3 + n%26, 3 + n/26%26, 2}
				body, err := json.Marshal(map[string]any{"inputs": ids})
				if err != nil {
					t.Error(err)
					return
				}
				var got [][]float32
				response, err := http.Post("http://"+address+"/embed", "application/json", bytes.NewReader(body))
				if err == nil {
					body, err = io.ReadAll(response.Body)
					response.Body.Close()
				}
				switch {
				case err != nil: // the client knows that it has no answer
					errs.Add(1)
					time.Sleep(time.Millisecond)
					continue
				case response.StatusCode != http.StatusOK:
					t.Errorf("client %d, text %d: %d %.80s", c, n, response.StatusCode, body)
					return
				}
				if err := json.Unmarshal(body, &got); err != nil || len(got) != 1 || !slices.Equal(got[0], vectorOf(ids)) {
					t.Errorf("client %d, text %d: %.80s is not its answer; %v", c, n, body, err)
					return
				}
				answers[c].Add(1)
			}
		}()
	}
	served := func() {
		t.Helper()
		var before [clients]int64
		for c := range before {
			before[c] = answers[c].Load()
		}
		eventually(t, "each client has ten answers more", func() bool {
			for c := range before {
				if answers[c].Load() < before[c]+10 && !t.Failed() {
					return false
				}
			}
			return true
		})
	}
	for range 2 {
		served()
		before := errs.Load()
		if err := server.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		server.Wait()
		eventually(t, "each client can know that the server is gone", func() bool { return t.Failed() || errs.Load() >= before+clients })
		server, _ = child(t, address)
	}
	served()
	stop()
	done.Wait()
}

// TestStop stops a server with a request at work and others that wait: all have their answers, and then nobody listens.
func TestStop(t *testing.T) {
	f, s, _ := serving(t, testLimits)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, listener, io.Discard) }()
	release := f.hold(t)
	var done sync.WaitGroup
	for i := range 6 {
		done.Add(1)
		go func() {
			defer done.Done()
			if status, body := post(t, url+"/embed", `{"inputs": "a b"}`); status != 200 {
				t.Errorf("request %d: %d %s", i, status, body)
			}
		}()
	}
	eventually(t, "all requests are taken", func() bool {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		return len(f.calls) == 1 && len(f.calls[0])+s.batcher.size() == 6
	})
	stop()
	eventually(t, "the server stops", s.stopping)
	eventually(t, "nobody listens", func() bool {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Fatalf("it ended, with %v, while requests had no answers", err)
	default:
	}
	release()
	done.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := s.batcher.vectors(t.Context(), [][]int{{1}}); !errors.Is(err, errStopped) {
		t.Errorf("%v, want that it has stopped", err)
	}
}

// TestLoad wants load to count answers, and to notice one that is mixed up.
func TestLoad(t *testing.T) {
	l := testLimits
	l.Waiting = 100
	_, _, url := serving(t, l)
	r, err := load(t.Context(), url, 16, 300*time.Millisecond)
	if err != nil || r.answers < 16 || r.p99 < r.p50 || r.p50 <= 0 {
		t.Errorf("%v %v", r, err)
	}
	var mutex sync.Mutex
	asked := 0
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mutex.Lock()
		defer mutex.Unlock()
		if asked++; asked > 20 {
			b = bytes.ToUpper(b)
		}
		w.Write(b)
	}))
	defer wrong.Close()
	if _, err := load(t.Context(), wrong.URL, 2, time.Minute); err == nil || !strings.Contains(err.Error(), "of another text") {
		t.Errorf("%v, want that an answer is of another text", err)
	}
}

// TestReal asks the real model, and wants the vectors that it gives without a server.
func TestReal(t *testing.T) {
	m := minilmtest.Model(t, "../encoder/model")
	s := newServer(m.Tokenizer, embedWith(m),
		limits{Waiting: 100, Texts: 32, Batch: 64, Tokens: 2048, Bytes: 1 << 20})
	h := httptest.NewServer(s.handler())
	defer s.batcher.stop()
	defer h.Close()
	want, err := m.Embed(sentences, minilm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"inputs": sentences})
	if err != nil {
		t.Fatal(err)
	}
	_, answer := post(t, h.URL+"/embed", string(body))
	var got [][]float32
	if err := json.Unmarshal([]byte(answer), &got); err != nil || len(got) != len(want) {
		t.Fatalf("%d vectors, %v", len(got), err)
	}
	for i := range got {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("text %d has another vector", i)
		}
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"": "want serve or load", "sreve": "no command", "serve -batch 0": "1 or more", "load -clients 0": "1 to 1000", "serve -model nowhere": "no such file",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
