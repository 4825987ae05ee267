package group

import "context"

// Backplane carries messages between the processes that share their groups. It
// is at most once: a message may be lost, with the connection to a broker for
// instance, and is never carried twice. Its methods are called by a [Layer],
// from any number of goroutines.
type Backplane interface {
	// Publish gives a message to every process that is subscribed to the group,
	// this one too or not, as it likes: a Layer knows its own messages. The
	// messages of one process in one group keep their order. m must not be kept.
	Publish(ctx context.Context, group string, m []byte) error

	// Subscribe asks for the messages of a group, and returns when they come.
	Subscribe(ctx context.Context, group string) error
	// Unsubscribe ends that. If it fails it is called again later, a few times,
	// unless Subscribe is.
	//
	// There is one call of these two at a time for a group, and they take turns: a
	// call that returns an error, that of ctx too, has changed nothing.
	Unsubscribe(ctx context.Context, group string) error

	// Receive calls deliver for each message that comes, in order, and gap when
	// messages may have been lost, of the groups that it names, or of all groups
	// if it names none: after a reconnect, once everything is subscribed to
	// again. It returns when ctx ends, or when it cannot go on. deliver does not
	// block and does not keep m. A Backplane of several brokers may call both from a
	// goroutine for each, if the messages of a group come from one.
	Receive(ctx context.Context, deliver func(group string, m []byte), gap func(groups ...string)) error
}

// The form of a message on a Backplane:
//
//	byte 0       version, 1
//	bytes 1-16   which process sent it
//	byte 17      the conn.MessageType: 1 for text, 2 for binary, and 128 more if
//	             it is not to be compressed
//	bytes 18-    payload
const (
	envelopeVersion = 1
	envelopeHeader  = 18
)
