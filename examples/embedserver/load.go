package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// sentences are what load asks for.
var sentences = []string{
	"Call me Ishmael.",
	"It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
	"All happy families are alike; each unhappy family is unhappy in its own way.",
	"How do I reset my password?",
	"The quick brown fox jumps over the lazy dog.",
	"Whales are mammals, although they live in the sea and look like fish.",
	"Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, and dedicated to the proposition that all men are created equal.",
	"Water boils at 100 degrees Celsius.",
}

// A report is what load measured.
type report struct {
	clients, answers, refused int
	took, p50, p99            time.Duration
	cpu                       float64 // seconds of the server
}

func (r report) String() string {
	return fmt.Sprintf("%d clients: %d answers, %.0f a second, p50 %.1f ms, p99 %.1f ms, %.2f of a CPU, %d refused", r.clients, r.answers,
		float64(r.answers)/r.took.Seconds(), 1e3*r.p50.Seconds(), 1e3*r.p99.Seconds(), r.cpu/r.took.Seconds(), r.refused)
}

// load lets clients ask for a text at a time for some time. An answer that is not that of its text, to the bit, is an error.
func load(ctx context.Context, url string, clients int, duration time.Duration) (report, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	ask := func(text string) (answer []byte, status int, err error) {
		body, err := json.Marshal(map[string]any{"inputs": text})
		if err != nil {
			return nil, 0, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/embed", bytes.NewReader(body))
		if err != nil {
			return nil, 0, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, 0, err
		}
		defer response.Body.Close()
		answer, err = io.ReadAll(response.Body)
		return answer, response.StatusCode, err
	}
	var want [][]byte
	for _, text := range sentences {
		answer, status, err := ask(text)
		if err != nil {
			return report{}, err
		}
		if status != http.StatusOK {
			return report{}, fmt.Errorf("status %d: %s", status, answer)
		}
		want = append(want, answer)
	}
	r := report{clients: clients}
	before, err := cpuSeconds(ctx, client, url)
	if err != nil {
		return r, err
	}
	var mutex sync.Mutex
	var times []time.Duration
	var failed error
	var done sync.WaitGroup
	start := time.Now()
	for c := range clients {
		done.Add(1)
		go func() {
			defer done.Done()
			for i := c; time.Since(start) < duration; i++ {
				asked := time.Now()
				answer, status, err := ask(sentences[i%len(sentences)])
				took := time.Since(asked)
				switch {
				case err != nil:
				case status == http.StatusTooManyRequests:
				case status != http.StatusOK:
					err = fmt.Errorf("status %d: %s", status, answer)
				case !bytes.Equal(answer, want[i%len(sentences)]):
					err = errors.New("the answer of another text")
				}
				mutex.Lock()
				if status == http.StatusTooManyRequests {
					r.refused++
				} else {
					times = append(times, took)
				}
				failed = errors.Join(failed, err)
				mutex.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
	done.Wait()
	r.took = time.Since(start)
	if failed != nil {
		return r, failed
	}
	after, err := cpuSeconds(ctx, client, url)
	if err != nil {
		return r, err
	}
	slices.Sort(times)
	r.answers, r.cpu = len(times), after-before
	if len(times) > 0 {
		r.p50, r.p99 = times[len(times)/2], times[len(times)*99/100]
	}
	return r, nil
}

// cpuSeconds is what the server has used.
func cpuSeconds(ctx context.Context, client *http.Client, url string) (seconds float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	for line := range bytes.Lines(text) {
		fmt.Sscanf(string(line), "process_cpu_seconds_total %g", &seconds)
	}
	return seconds, err
}
