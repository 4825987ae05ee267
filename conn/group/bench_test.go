package group

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"rfc6455/conn"
)

// BenchmarkSend is one message to all members of a group, until the last one has
// got it.
func BenchmarkSend(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint("members=", count), func(b *testing.B) {
			var l Layer
			conns := crowd(b, count, patient())
			for _, c := range conns {
				if err := l.Add(b.Context(), "room", c); err != nil {
					b.Fatal(err)
				}
			}
			p := make([]byte, 125)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Send(b.Context(), "room", conn.Binary, p); err != nil {
					b.Fatal(err)
				}
				drained(conns)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/member")
		})
	}
}

// BenchmarkRooms is a message to each of a number of rooms, until all have got
// theirs, with a goroutine a member that reads. Bytes a member are heap and stack.
func BenchmarkRooms(b *testing.B) {
	for _, shape := range []struct{ rooms, members int }{{1, 20}, {1, 5000}, {1000, 20}} {
		b.Run(fmt.Sprintf("rooms=%d/members=%d", shape.rooms, shape.members), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var l Layer
			conns := crowd(b, shape.rooms*shape.members, patient())
			names := make([]string, shape.rooms)
			for i := range names {
				names[i] = fmt.Sprint("room-", i)
			}
			var reading sync.WaitGroup
			for i, c := range conns {
				if err := l.Add(b.Context(), names[i%shape.rooms], c); err != nil {
					b.Fatal(err)
				}
				reading.Go(func() {
					for range c.Messages(c.Context()) {
					}
				})
			}
			p := make([]byte, 125)
			send := func() {
				for _, name := range names {
					if err := l.Send(b.Context(), name, conn.Text, p); err != nil {
						b.Fatal(err)
					}
				}
				drained(conns)
			}
			send()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
			members := float64(len(conns))
			b.ReportMetric(members*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric((float64(after.HeapAlloc+after.StackInuse)-float64(before.HeapAlloc+before.StackInuse))/members, "B/member")
			for _, c := range conns {
				c.CloseNow()
			}
			reading.Wait()
		})
	}
}

// BenchmarkJoinLeave is one connection that joins a group and leaves it, alone
// or beside others.
func BenchmarkJoinLeave(b *testing.B) {
	for _, count := range []int{0, 10, 10000} {
		b.Run(fmt.Sprint("members=", count), func(b *testing.B) {
			var l Layer
			for _, c := range crowd(b, count, patient()) {
				if err := l.Add(b.Context(), "room", c); err != nil {
					b.Fatal(err)
				}
			}
			c := crowd(b, 1, patient())[0]
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Add(ctx, "room", c); err != nil {
					b.Fatal(err)
				}
				l.Discard("room", c)
			}
		})
	}
}

// BenchmarkChurn is one of 100,000 members in 10,000 groups that goes from one
// group to another, where it says something, on all processors.
func BenchmarkChurn(b *testing.B) {
	const count, groups = 100_000, 10_000
	var l Layer
	conns := crowd(b, count, patient())
	names := make([]string, groups)
	for i := range names {
		names[i] = fmt.Sprint("room-", i)
	}
	ctx := context.Background()
	for i, c := range conns {
		if err := l.Add(ctx, names[i%groups], c); err != nil {
			b.Fatal(err)
		}
	}
	p := make([]byte, 125)
	for _, test := range []struct {
		name string
		send bool
	}{{"send=no", false}, {"send=yes", true}} {
		b.Run(test.name, func(b *testing.B) {
			var next atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(next.Add(1))
					c, from, to := conns[i%count], names[i%groups], names[(i*7+1)%groups]
					l.Discard(from, c)
					if err := l.Add(ctx, to, c); err != nil {
						b.Error(err)
					}
					if test.send {
						if err := l.Send(ctx, to, conn.Binary, p); err != nil {
							b.Error(err)
						}
					}
					l.Discard(to, c)
					if err := l.Add(ctx, from, c); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
