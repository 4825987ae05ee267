package conn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// Redial dials, and dials again when the connection is over, for as long as ctx
// lives and the loop goes on. It yields a connection, or an error where there is
// none:
//
//	for c, err := range conn.Redial(ctx, "wss://example.com/feed", nil) {
//		if err != nil {
//			log.Print(err) // a loss or a failed attempt, and when the next one is
//			continue
//		}
//		for m, err := range c.Messages(ctx) {
//			if err != nil {
//				break
//			}
//			handle(m)
//		}
//	}
//
// The connection belongs to the iteration that it was yielded to: if it is still
// open at the end of that, it is closed with 1000.
//
// Before each attempt but the first, Redial yields a [*RedialError] that says why
// there is no connection and how long it waits now: a random time up to
// [DialOptions.RedialWait] at first, longer with every attempt that fails, up to
// RedialMaxWait; a Retry-After header in the server's refusal is heeded within
// that. The waits begin anew after a connection that lived longer than
// RedialWait. (RFC 6455, section 7.2.3)
//
// An error that further attempts would not change is the last thing that is
// yielded, as [Dial] returned it: a malformed URL or wrong options, and a refusal
// with a 4xx status other than 408, 425 and 429. When ctx ends, the loop ends
// without an error.
func Redial(ctx context.Context, url string, o *DialOptions) iter.Seq2[*Conn, error] {
	return func(yield func(*Conn, error) bool) {
		d := newDialer(o)
		if _, err := d.terms.Request(url); err != nil {
			yield(nil, err)
			return
		}
		b := newBackoff(o)
		for ctx.Err() == nil {
			var asked time.Duration
			c, resp, err := d.dial(ctx, url)
			if err == nil {
				var goOn bool
				var lived time.Duration
				if goOn, lived, err = use(c, yield); !goOn {
					return
				}
				b.lived(lived)
			} else {
				if !worthRetrying(err) {
					yield(nil, err)
					return
				}
				asked = retryAfter(resp, time.Now())
			}
			if ctx.Err() != nil {
				return
			}
			wait := b.next(rand.Float64(), asked)
			if !yield(nil, &RedialError{Err: err, Attempt: b.attempt, Wait: wait}) {
				return
			}
			select {
			case <-time.After(max(wait, 1)): // not 0, see arm
			case <-ctx.Done():
			}
		}
	}
}

// use yields a connection, and returns how long it was of use and why it is over.
func use(c *Conn, yield func(*Conn, error) bool) (goOn bool, lived time.Duration, err error) {
	defer c.CloseNow() // a panic in the loop
	goOn = yield(c, nil)
	lived = time.Since(epoch) - c.start
	c.Close(frame.CloseNormal, "")
	return goOn, lived, c.sticky()
}

// RedialError says why [Redial] has no connection at the moment.
type RedialError struct {
	// Err is what ended the last connection, or why the last attempt failed.
	Err error
	// Attempt is the number of the next attempt, 1 for the first after a
	// connection that lived.
	Attempt int
	// Wait is how long Redial waits before it.
	Wait time.Duration
}

// Error tells the reason and the wait.
func (e *RedialError) Error() string {
	return fmt.Sprintf("%v; attempt %d in %v", e.Err, e.Attempt, e.Wait.Round(10*time.Millisecond))
}

// Unwrap returns Err.
func (e *RedialError) Unwrap() error { return e.Err }

// backoff says how long to wait.
type backoff struct {
	first, most time.Duration
	attempt     int // the attempts so far since a connection lived
}

func newBackoff(o *DialOptions) *backoff {
	if o == nil {
		o = &DialOptions{}
	}
	b := &backoff{
		first: or(o.RedialWait, defaultRedialWait),
		most:  or(o.RedialMaxWait, defaultRedialMaxWait),
	}
	if b.most == 0 {
		b.most = math.MaxInt64
	}
	b.first = min(b.first, b.most)
	return b
}

// next returns how long to wait before the next attempt: random between 0 and
// the first limit, then between half and the whole of the limit, which doubles.
// random is in [0, 1); asked is what the server asked for.
func (b *backoff) next(random float64, asked time.Duration) time.Duration {
	limit := b.first
	for range b.attempt {
		if limit > b.most/2 {
			limit = b.most
			break
		}
		limit *= 2
	}
	least := time.Duration(0)
	if b.attempt > 0 {
		least = limit / 2
	}
	wait := least + time.Duration(random*float64(limit-least))
	b.attempt++
	return max(wait, min(asked, b.most))
}

// lived is told how long a connection has lived.
func (b *backoff) lived(d time.Duration) {
	if d > b.first {
		b.attempt = 0
	}
}

// worthRetrying reports whether another attempt can have another result.
func worthRetrying(err error) bool {
	refusal, ok := errors.AsType[*handshake.ResponseError](err)
	if !ok {
		return true
	}
	switch refusal.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return refusal.Status/100 != 4
}

// retryAfter returns how long the server wants to be left alone, 0 if it did not
// say. (RFC 9110, section 10.2.3)
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp == nil {
		return 0
	}
	value := resp.Header.Get("Retry-After")
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second // the largest number if it is out of range
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
