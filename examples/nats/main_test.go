package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/selfattn/attn/generic"
)

// TestMain is the program itself for the processes that tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "shard" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"": "want demo, bench or shard", "dmeo": "no command", "shard -number -1": "-number is 0 or more", "shard -spans 0": "-spans 1 or more",
		"shard -file " + filepath.Join(t.TempDir(), "x") + " -url nats://127.0.0.1:1": "no servers available",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// TestCluster decodes over two shards and into a third, kills one in between, and one that stays silent. Each time there is an error
// that names it, and another try has the bits of one machine.
func TestCluster(t *testing.T) {
	const keys, spans = 2*generic.SpanKeys - 3, 1
	one := &local{randomRows(keys)}
	c, err := startCluster(t.Context(), 3, spans, one.rows)
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	for i := range 8 {
		position := keys + i
		newest := randomToken(position)
		want, err := one.attend(position, newest)
		if err != nil {
			t.Fatal(err)
		}
		dead := -1
		switch i {
		case 2: // it is the last token of shard 1
			dead = 1
		case 4:
			dead = 2
		case 6:
			dead = 0
		}
		if dead >= 0 {
			if err := c.kill(dead); err != nil {
				t.Fatal(err)
			}
			if _, err := c.attend(t.Context(), position, newest); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("shard %d: ", dead)) {
				t.Errorf("token %d: %v, want that shard %d is not there", i, err, dead)
			}
			silent, err := c.nc.Subscribe(subject(dead), func(*nats.Msg) {})
			if err != nil {
				t.Fatal(err)
			}
			c.timeout = 50 * time.Millisecond
			if _, err := c.attend(t.Context(), position, newest); err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
				t.Errorf("token %d: %v, want that it is late", i, err)
			}
			c.timeout = 30 * time.Second
			if err := silent.Unsubscribe(); err != nil {
				t.Fatal(err)
			}
			if err := c.start(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
		}
		other := randomToken(-position) // which another sequence would have there
		otherWant, err := one.attend(position, other)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := one.attend(position, newest); err != nil {
			t.Fatal(err)
		}
		for try, x := range []struct {
			token *token
			want  []float32
		}{{other, otherWant}, {newest, want}, {newest, want}} { // the newest row and query count, and to ask twice changes nothing
			got, err := c.attend(t.Context(), position, x.token)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("token %d, try %d has other bits than on one machine", i, try)
			}
		}
	}
}

// TestLost takes the last row from a shard's file: it says so, and does not answer with what is left.
func TestLost(t *testing.T) {
	const keys = 40
	rows := randomRows(keys)
	c, err := startCluster(t.Context(), 1, 1, rows)
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	if err := c.kill(0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(fileOf(c.folder, 0), (keys-1)*4*rowLen+5); err != nil {
		t.Fatal(err)
	}
	if err := c.start(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	token := randomToken(keys)
	if _, err := c.attend(t.Context(), keys, token); err == nil || !strings.Contains(err.Error(), "the row of position 40, want up to 39") {
		t.Errorf("%v, want that a row is lost", err)
	}
	token.row = nil
	if _, err := c.attend(t.Context(), keys-1, token); err == nil || !strings.Contains(err.Error(), "1 rows are lost: there are 39 of 40") {
		t.Errorf("%v, want that a row is lost", err)
	}
}

func TestBadRequests(t *testing.T) {
	s := &shard{number: 1, spans: 1}
	if err := s.open(filepath.Join(t.TempDir(), "rows")); err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	token := randomToken(0)
	for want, data := range map[string][]byte{
		"a request of 5 bytes":                        make([]byte, 5),
		"position 3, want 16384":                      request(3, token.query, nil),
		"position 18446744":                           request(-1, token.query, nil),
		"the row of position 16385, want up to 16384": request(generic.SpanKeys+1, token.query, token.row),
		"the row of position 32768":                   request(2*generic.SpanKeys, token.query, token.row),
		"16384 rows are lost":                         request(2*generic.SpanKeys, token.query, nil),
	} {
		if _, err := s.answer(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, make([]byte, 4*rowLen*(generic.SpanKeys+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.open(long); err == nil || !strings.Contains(err.Error(), "has 16385 rows, want up to 16384") {
		t.Errorf("%v, want that the file is too long", err)
	}
}

// TestDemo wants every token with the bits of one machine, but for one try.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"demo"}, &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "the bits of one machine"); n != 4 || !strings.Contains(out.String(), "shard 1: ") {
		t.Errorf("%d tokens in\n%s", n, out.String())
	}
}
