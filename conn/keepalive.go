package conn

import "time"

// keepalive decides when a silent peer is sent a Ping and when it is given up.
// It knows no clock: times are durations since the connection began.
type keepalive struct {
	since  time.Duration // from when the current silence counts
	pinged time.Duration // when the last Ping was due; 0: never
}

// grace is how long a read must have waited before its silence is believed:
// bytes may have been on their way to it all the time.
const grace = 10 * time.Millisecond

// check says what is due at now. silence is since when reads have found no byte,
// while one waits, and parked since when that one does. If silence is 0, none
// waits: then the application is not reading, and nothing is known of the peer.
// It is sent Pings all the same, for the sake of the proxies on the way. o, the
// connection's, has the silence before a Ping, or 0 for no Pings, and that after it
// before the peer is lost, or 0 for never.
func (k *keepalive) check(o *Options, now, silence, parked time.Duration) (ping, dead bool) {
	interval, timeout := o.Keepalive, o.KeepaliveTimeout
	if interval == 0 {
		return false, false
	}
	if silence == 0 {
		k.since = now
		if now-k.pinged < interval {
			return false, false
		}
		k.pinged = now
		return true, false
	}
	k.since = silence
	if k.pinged > silence {
		// The Ping went out in this very silence. A byte that came at the very
		// moment of the Ping, as in fake time its Pong does, is life.
		if timeout > 0 {
			return false, now-k.pinged >= timeout && now-parked >= grace
		}
		if now-k.pinged < interval {
			return false, false
		}
	} else if now-silence < interval {
		return false, false
	}
	k.pinged = now
	return true, false
}

// next returns when check should be called again, 0 for never.
func (k *keepalive) next(o *Options, now time.Duration) time.Duration {
	switch {
	case o.Keepalive == 0:
		return 0
	case k.pinged > k.since && o.KeepaliveTimeout > 0:
		// The Pong moves no timer, so look whether it came when the next Ping may be
		// due.
		at := max(k.pinged+o.KeepaliveTimeout, now+grace)
		if again := k.pinged + o.Keepalive; again > now {
			at = min(at, again)
		}
		return at
	default:
		return max(k.since, k.pinged, 1) + o.Keepalive
	}
}
