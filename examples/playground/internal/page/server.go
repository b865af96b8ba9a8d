// Package page is a web page that shows attention step by step, and the server that computes its numbers with package
// kernel. The server keeps nothing between requests: whatever a number depends on is in the request for it.
package page

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
)

//go:embed static
var static embed.FS

// What a request may ask for.
const (
	maxText    = 400       // bytes of a sentence
	maxWords   = 12        // of a sentence, or pieces of them
	maxTokens  = 24        // of one that an encoder reads
	maxSide    = 12        // rows and columns of a matrix that is typed in
	maxNumber  = 10000     // magnitude of a number that is typed in
	maxBody    = 256 << 10 // bytes
	maxTime    = 10 * time.Second
	maxAtOnce  = 4 // requests that are computed; others wait
	dim        = glove.Dim
	shutdownIn = time.Second
)

// A Server answers the requests of the page.
type Server struct {
	voc     vocabulary
	pieces  vocabulary    // the same words by the encoder, those that are one piece
	encoder Encoder       // nil where there is none
	host    string        // by which requests may call this server, besides localhost and IP addresses
	slots   chan struct{} // has an element for each request that is computed
	timing  chan struct{} // has an element while something is timed
}

// An Encoder reads texts with a learned model. It may be called by several goroutines.
type Encoder interface {
	// Read returns what the model makes of a text: an error if it has more than most tokens.
	Read(text string, most int) (*Reading, error)

	// Static returns the pieces of a text, and the vector of each, which depends on the piece alone: an error if there are more
	// than most.
	Static(text string, most int) (pieces []string, vectors [][]float32, err error)
}

// A Reading is what attention makes of a text, layer by layer.
type Reading struct {
	Tokens  []string
	Vectors [][][]float32 // [layer][token], before the first layer and after each
	Weights [][][]float32 // [layer][head], a row of weights for each token
}

// New returns a server that is called by a host. encoder may be nil.
func New(host string, encoder Encoder) (*Server, error) {
	voc, err := glove.Load()
	if err != nil {
		return nil, err
	}
	s := &Server{
		voc: vocabulary{voc, dim}, encoder: encoder, host: host, slots: make(chan struct{}, maxAtOnce), timing: make(chan struct{}, 1),
	}
	if encoder != nil {
		s.pieces, err = piecesOf(encoder, voc.Words)
	}
	return s, err
}

// Run serves at an address, of which opened is told when it can be called, until ctx is done. What is computed then is cancelled.
func Run(ctx context.Context, address string, encoder Encoder, opened func(url string)) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("-address: %w", err)
	}
	s, err := New(host, encoder)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: maxTime, WriteTimeout: 3 * maxTime,
		IdleTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(listener) }()
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	opened("http://" + net.JoinHostPort(host, port) + "/")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.Background(), shutdownIn)
	defer cancel()
	if h.Shutdown(late) != nil {
		return h.Close()
	}
	return nil
}

// Handler serves the page and its numbers.
func (s *Server) Handler() http.Handler {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/about", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"backend": kernel.Backend(), "processors": runtime.GOMAXPROCS(0), "architecture": runtime.GOARCH,
			"words": s.voc.Words, "encoder": s.encoder != nil,
			"mostWords": maxWords, "dims": []int{s.voc.dim, s.pieces.dim},
		})
	})
	answer(s, mux, "softmax", s.softmax)
	answer(s, mux, "words", s.words)
	answer(s, mux, "mix", s.mix)
	answer(s, mux, "attention", s.attention)
	answer(s, mux, "project", s.project)
	answer(s, mux, "far", s.far)
	answer(s, mux, "cost", s.cost)
	answer(s, mux, "heads", s.heads)
	answer(s, mux, "meaning", s.meaning)
	answer(s, mux, "learn", s.learn)
	return s.guard(mux)
}

// guard refuses what did not come from the page itself, and says what a browser may do with it.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.knows(r.Host) {
			writeError(w, http.StatusMisdirectedRequest, fmt.Errorf("the host %q is not this server's", r.Host))
			return
		}
		// Pages of others can send requests here, which must not make this machine work.
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				writeError(w, http.StatusForbidden, fmt.Errorf("the origin %q is not this page", origin))
				return
			}
		}
		if site := r.Header.Get("Sec-Fetch-Site"); r.Method != http.MethodGet && site != "" && site != "same-origin" {
			writeError(w, http.StatusForbidden, fmt.Errorf("a request of another site (%s)", site))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows says whether a request for host is meant for this server. A page of another site can point a name of its own at this
// machine and then counts as the same site, but it has to call by that name.
func (s *Server) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost" || s.host != "" && host == s.host
}

// A badRequest is an error of who asks.
type badRequest struct{ error }

func bad(format string, args ...any) error { return badRequest{fmt.Errorf(format, args...)} }

// answer lets a function answer the requests for a kind of numbers.
func answer[Q, A any](s *Server, mux *http.ServeMux, name string, f func(context.Context, Q) (A, error)) {
	mux.HandleFunc("POST /api/"+name, func(w http.ResponseWriter, r *http.Request) {
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
			writeError(w, http.StatusUnsupportedMediaType, fmt.Errorf("the content type is %q, want application/json", kind))
			return
		}
		var request Q
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&request); err != nil {
			writeError(w, http.StatusBadRequest, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), maxTime)
		defer cancel()
		var reply A
		err := take(ctx, s.slots)
		if err == nil {
			defer func() { <-s.slots }()
			reply, err = f(ctx, request)
		}
		var b badRequest
		switch {
		case err == nil:
			writeJSON(w, http.StatusOK, reply)
		case errors.As(err, &b):
			writeError(w, http.StatusBadRequest, err)
		case errors.Is(err, context.DeadlineExceeded):
			writeError(w, http.StatusServiceUnavailable, fmt.Errorf("stopped: it took more than %v", maxTime))
		case errors.Is(err, context.Canceled): // nobody reads an answer
		default:
			writeError(w, http.StatusInternalServerError, err)
		}
	})
}

// take waits for room in slots until ctx is done.
func take(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func writeJSON(w http.ResponseWriter, status int, x any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(x) // fails only if nobody reads it
}

func writeError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

// numbers are float32 in JSON, where null is what is not finite: a hidden score.
type numbers []float32

func (x numbers) MarshalJSON() ([]byte, error) {
	values := make([]any, len(x))
	for i, v := range x {
		if !math.IsInf(float64(v), 0) && v == v {
			values[i] = v
		}
	}
	return json.Marshal(values)
}

// A grid is a matrix in JSON, row by row.
type grid struct {
	Rows int     `json:"rows"`
	Cols int     `json:"cols"`
	Data numbers `json:"data"`
}

func newGrid(rows, cols int) grid { return grid{rows, cols, make(numbers, rows*cols)} }

func (g grid) matrix() kernel.Matrix {
	return kernel.Matrix{Rows: g.Rows, Cols: g.Cols, Stride: g.Cols, Data: g.Data}
}

func (g grid) tensor() kernel.Tensor {
	return kernel.Tensor{Data: g.Data, Len: g.Rows, Dim: g.Cols}
}

func (g grid) row(i int) []float32 { return g.Data[i*g.Cols:][:g.Cols] }

// check returns an error if g is not a small matrix of finite numbers.
func (g grid) check(name string) error {
	if g.Rows < 1 || g.Rows > maxSide || g.Cols < 1 || g.Cols > maxSide || len(g.Data) != g.Rows*g.Cols {
		return bad("%s has %d rows, %d columns and %d numbers, want 1 to %d rows and columns", name, g.Rows, g.Cols, len(g.Data), maxSide)
	}
	return checkNumbers(name, g.Data)
}

func checkNumbers(name string, x []float32) error {
	for _, v := range x {
		if !(math.Abs(float64(v)) <= maxNumber) {
			return bad("%s has %v, want numbers from %d to %d", name, v, -maxNumber, maxNumber)
		}
	}
	return nil
}

// checkRange returns an error if a number is out of range.
func checkRange[N int | float32](name string, x, low, high N) error {
	if !(x >= low && x <= high) {
		return bad("%s is %v, want %v to %v", name, x, low, high)
	}
	return nil
}
