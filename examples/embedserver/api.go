package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/kernel"
)

// Limits of the server.
type limits struct {
	Waiting int // texts that wait, of all requests
	Texts   int // of a request
	Batch   int // texts of a call of the model
	Tokens  int // of a call of the model, where it has more than one text
	Bytes   int64
}

const modelName = "all-MiniLM-L6-v2"

type server struct {
	limits
	tokenizer *minilm.Tokenizer
	batcher   *batcher
	stopping  func() bool

	registry                *prometheus.Registry
	requests, failures      *prometheus.CounterVec
	duration                *prometheus.HistogramVec
	batchTexts, batchTokens prometheus.Histogram
}

// newServer serves vectors that embed computes.
func newServer(tokenizer *minilm.Tokenizer, embed embedder, l limits) *server {
	s := &server{limits: l, tokenizer: tokenizer, stopping: func() bool { return false }, registry: prometheus.NewRegistry()}
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "te_request_count", Help: "Requests for vectors."}, []string{"method"})
	s.failures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "te_request_failure", Help: "Requests that failed."}, []string{"err"})
	s.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "te_request_duration", Help: "Seconds of requests that succeeded.", Buckets: prometheus.ExponentialBuckets(1e-3, 2, 14),
	}, []string{"method"})
	sizes := prometheus.ExponentialBuckets(1, 2, 15)
	s.batchTexts = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "te_batch_next_size", Help: "Texts of a batch.", Buckets: sizes})
	s.batchTokens = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "te_batch_next_tokens", Help: "Tokens of a batch.", Buckets: sizes})
	s.batcher = &batcher{
		embed: embed, mostWaiting: l.Waiting, mostTexts: l.Batch, mostTokens: l.Tokens,
		batch: func(texts, tokens int) {
			s.batchTexts.Observe(float64(texts))
			s.batchTokens.Observe(float64(tokens))
		},
	}
	queue := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "te_queue_size", Help: "Texts that wait."},
		func() float64 { return float64(s.batcher.size()) })
	s.registry.MustRegister(s.requests, s.failures, s.duration, s.batchTexts, s.batchTokens, queue,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.batcher.start()
	return s
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /embed", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, "embed", s.embed, writeError) })
	mux.HandleFunc("POST /v1/embeddings", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, "openai", s.openAI, writeOpenAIError)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if s.stopping() {
			writeError(w, failure{http.StatusServiceUnavailable, "Unhealthy", "the server stops"})
		}
	})
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"model_id": "sentence-transformers/" + modelName, "model_dtype": "float32",
			"model_type":              map[string]any{"embedding": map[string]any{"pooling": "mean"}},
			"max_concurrent_requests": s.Waiting, "max_input_length": minilm.MaxTokens, "max_batch_tokens": s.Tokens,
			"max_batch_requests": s.Batch, "max_client_batch_size": s.Texts, "auto_truncate": false, "backend": kernel.Backend(),
		})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// A failure is an answer with an error, in the words of text-embeddings-inference.
type failure struct {
	status  int
	kind    string
	message string
}

func (f failure) Error() string { return f.message }

func invalid(format string, args ...any) error {
	return failure{http.StatusRequestEntityTooLarge, "Validation", fmt.Sprintf(format, args...)}
}

func malformed(err error) error {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return invalid("a body of more than %d bytes", long.Limit)
	}
	return failure{http.StatusUnprocessableEntity, "Tokenizer", err.Error()}
}

// serve answers a request, and counts it.
func (s *server) serve(w http.ResponseWriter, r *http.Request, method string,
	answer func(*http.Request) (any, error), fail func(http.ResponseWriter, failure)) {
	s.requests.WithLabelValues(method).Inc()
	start := time.Now()
	r.Body = http.MaxBytesReader(w, r.Body, s.Bytes)
	reply, err := answer(r)
	var f failure
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, reply)
		s.duration.WithLabelValues(method).Observe(time.Since(start).Seconds())
		return
	case errors.As(err, &f):
	case errors.Is(err, errOverloaded):
		f = failure{http.StatusTooManyRequests, "Overloaded", err.Error()}
	case errors.Is(err, errStopped):
		f = failure{http.StatusServiceUnavailable, "Unhealthy", err.Error()}
	case r.Context().Err() != nil:
		s.failures.WithLabelValues("canceled").Inc() // nobody reads an answer
		return
	default:
		f = failure{http.StatusFailedDependency, "Backend", err.Error()}
	}
	s.failures.WithLabelValues(f.kind).Inc()
	fail(w, f)
}

func writeJSON(w http.ResponseWriter, status int, x any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(x) // fails only if nobody reads it
}

func writeError(w http.ResponseWriter, f failure) {
	writeJSON(w, f.status, map[string]any{"error": f.message, "error_type": f.kind})
}

func writeOpenAIError(w http.ResponseWriter, f failure) {
	writeJSON(w, f.status, map[string]any{"error": map[string]any{"message": f.message, "type": f.kind, "param": nil, "code": nil}})
}

// An input is one text, several, or either as tokens.
type input struct {
	texts  []string
	tokens [][]int
}

func (in *input) UnmarshalJSON(data []byte) error {
	var text string
	var texts []string
	var ids []int
	var lists [][]int
	switch {
	case json.Unmarshal(data, &text) == nil:
		in.texts = []string{text}
	case json.Unmarshal(data, &texts) == nil:
		in.texts = texts
	case json.Unmarshal(data, &ids) == nil:
		in.tokens = [][]int{ids}
	case json.Unmarshal(data, &lists) == nil:
		in.tokens = lists
	default:
		return errors.New("the input is no text, list of texts, or tokens of them")
	}
	return nil
}

// prepare returns the tokens of in, within the limits.
func (s *server) prepare(in input, truncate bool) (batch [][]int, tokens int, err error) {
	n := len(in.texts) + len(in.tokens)
	if n == 0 {
		return nil, 0, invalid("`inputs` cannot be empty")
	}
	if n > s.Texts {
		return nil, 0, invalid("batch size %d > maximum allowed batch size %d", n, s.Texts)
	}
	batch = in.tokens
	for _, text := range in.texts {
		batch = append(batch, s.tokenizer.Encode(text))
	}
	for i, ids := range batch {
		if n := len(ids); n > minilm.MaxTokens {
			if !truncate {
				return nil, 0, invalid("`inputs` must have at most %d tokens. Given: %d", minilm.MaxTokens, n)
			}
			batch[i] = append(ids[:minilm.MaxTokens-1:minilm.MaxTokens-1], ids[n-1])
		}
		if len(ids) == 0 {
			return nil, 0, invalid("`inputs` cannot be empty")
		}
		for _, id := range ids {
			if id < 0 || id >= s.tokenizer.Len() {
				return nil, 0, invalid("`inputs` has the token %d, want 0 to %d", id, s.tokenizer.Len()-1)
			}
		}
		tokens += len(batch[i])
	}
	return batch, tokens, nil
}

// embed answers as text-embeddings-inference does.
func (s *server) embed(r *http.Request) (any, error) {
	var request struct {
		Inputs    *input
		Truncate  bool
		Normalize *bool
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, malformed(err)
	}
	if request.Inputs == nil {
		return nil, malformed(errors.New("missing field `inputs`"))
	}
	if request.Normalize != nil && !*request.Normalize {
		return nil, invalid("vectors have length 1: normalize = false is not to be had")
	}
	batch, _, err := s.prepare(*request.Inputs, request.Truncate)
	if err != nil {
		return nil, err
	}
	return s.batcher.vectors(r.Context(), batch)
}

// openAI answers as OpenAI does.
func (s *server) openAI(r *http.Request) (any, error) {
	var request struct {
		Input      *input
		Model      string
		Format     string `json:"encoding_format"`
		Dimensions *int
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, malformed(err)
	}
	if request.Input == nil {
		return nil, malformed(errors.New("missing field `input`"))
	}
	if request.Format != "" && request.Format != "float" && request.Format != "base64" {
		return nil, malformed(fmt.Errorf("encoding_format is %q, want float or base64", request.Format))
	}
	if request.Dimensions != nil && *request.Dimensions != minilm.Dim {
		return nil, invalid("dimensions is %d, want %d", *request.Dimensions, minilm.Dim)
	}
	batch, tokens, err := s.prepare(*request.Input, false)
	if err != nil {
		return nil, err
	}
	vectors, err := s.batcher.vectors(r.Context(), batch)
	if err != nil {
		return nil, err
	}
	type embedding struct {
		Object    string `json:"object"`
		Embedding any    `json:"embedding"`
		Index     int    `json:"index"`
	}
	data := make([]embedding, len(vectors))
	for i, v := range vectors {
		data[i] = embedding{"embedding", v, i}
		if request.Format == "base64" {
			b, err := binary.Append(nil, binary.LittleEndian, v)
			if err != nil {
				return nil, err
			}
			data[i].Embedding = base64.StdEncoding.EncodeToString(b)
		}
	}
	return map[string]any{
		"object": "list", "data": data, "model": modelName,
		"usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens},
	}, nil
}
