package redisplane

import "hash/fnv"

// place returns the index of the host that a group is on: that with the highest
// weight. So it does not depend on the order of the hosts, and one more takes its
// share evenly from all. (Thaler and Ravishankar, Using name-based mappings to
// increase hit rates, 1998)
func place(hosts []string, group string) int {
	best, at := uint64(0), 0
	for i, host := range hosts {
		w := weight(host, group)
		if i == 0 || w > best || w == best && host < hosts[at] {
			best, at = w, i
		}
	}
	return at
}

// weight is FNV-1a of host, a zero byte and group, and then the last steps of
// MurmurHash3, since FNV spreads what differs in its last bytes badly.
func weight(host, group string) uint64 {
	f := fnv.New64a()
	f.Write([]byte(host))
	f.Write([]byte{0})
	f.Write([]byte(group))
	h := f.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
