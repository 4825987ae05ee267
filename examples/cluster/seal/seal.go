// Package seal encrypts what processes send each other over a broker that others
// can read, or write to, and lets keys be replaced without a stop.
//
// The form of a sealed message:
//
//	byte 0      version, 1
//	bytes 1-12  random, a new one for each message
//	bytes 13-   AES-256-GCM of the message, 16 bytes longer than it
//
// The group's name is authenticated beside the message, so that a message of one
// group does not open in another. What this does not hide is the names of groups,
// and when and how much is sent; nor does it keep somebody who can write to the
// broker from sending an old message of the same group once more.
//
// A key is good for 2^32 messages: with more, two of them may get the same random
// bytes. To replace a key, give the new one to all processes as their second,
// then as their first, and then take the old one away.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
)

const (
	version = 1
	// KeySize is the length of a key in bytes.
	KeySize = 32
	// Overhead is how much longer a message is when it is sealed.
	Overhead = 1 + 12 + 16
)

// ErrOpen: a message was not sealed with one of the keys for this group.
var ErrOpen = errors.New("seal: the message was not sealed with one of the keys for this group")

// Keys seals and opens messages. A nil *Keys leaves them as they are. It may be
// used by any number of goroutines.
type Keys struct {
	all []cipher.AEAD // the first one seals; never empty
}

// New returns Keys of which the first seals and all open. There must be one, and
// each has KeySize bytes.
func New(keys ...[]byte) (*Keys, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: there is no key")
	}
	k := &Keys{}
	for i, key := range keys {
		if len(key) != KeySize {
			return nil, fmt.Errorf("seal: key %d has %d bytes, not %d", i+1, len(key), KeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		k.all = append(k.all, aead)
	}
	return k, nil
}

// Parse is New for keys in base64, of which there may be none: it returns nil
// then. The errors do not show the keys.
func Parse(keys ...string) (*Keys, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var raw [][]byte
	for i, key := range keys {
		b, err := base64.StdEncoding.Strict().DecodeString(key)
		if err != nil {
			return nil, fmt.Errorf("seal: key %d is not in base64", i+1)
		}
		raw = append(raw, b)
	}
	return New(raw...)
}

// Seal returns a message of a group as it may travel. m is not kept.
func (k *Keys) Seal(group string, m []byte) []byte {
	if k == nil {
		return m
	}
	dst := append(make([]byte, 0, Overhead+len(m)), version)
	return k.all[0].Seal(dst, nil, m, additional(group))
}

// Open returns the message that was sealed for a group, or ErrOpen. b is not kept.
func (k *Keys) Open(group string, b []byte) ([]byte, error) {
	if k == nil {
		return b, nil
	}
	if len(b) < Overhead || b[0] != version {
		return nil, ErrOpen
	}
	for _, key := range k.all {
		if m, err := key.Open(nil, nil, b[1:], additional(group)); err == nil {
			return m, nil
		}
	}
	return nil, ErrOpen
}

// additional is what is authenticated beside a message.
func additional(group string) []byte {
	return append([]byte{version}, group...)
}
