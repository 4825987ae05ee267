package rooms

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMemory(t *testing.T) {
	var p memory
	for _, tt := range []struct {
		join       bool
		room, name string
		want       Change
		present    []string
	}{
		{true, "one", "bob", Change{Joined: []string{"bob"}}, []string{"bob"}},
		{true, "one", "ada", Change{Joined: []string{"ada"}}, []string{"ada", "bob"}},
		{true, "one", "bob", Change{}, []string{"ada", "bob"}},
		{true, "two", "bob", Change{Joined: []string{"bob"}}, []string{"bob"}},
		{false, "one", "bob", Change{}, []string{"ada", "bob"}},
		{false, "one", "bob", Change{Left: []string{"bob"}}, []string{"ada"}},
		{false, "one", "ada", Change{Left: []string{"ada"}}, nil},
		{false, "two", "bob", Change{Left: []string{"bob"}}, nil},
	} {
		change := p.Leave
		if tt.join {
			change = p.Join
		}
		assert.Equal(t, tt.want, change(t.Context(), tt.room, tt.name, ""), "%+v", tt)
		present, order := p.Present(t.Context(), tt.room)
		assert.Equal(t, tt.present, present, "%+v", tt)
		assert.Zero(t, order)
	}
	assert.Empty(t, p.rooms)
}
