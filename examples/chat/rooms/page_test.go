package rooms

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the policy would forbid, and what would make HTML of text.
func TestPagesHaveNoMarkupInText(t *testing.T) {
	entries, err := files.ReadDir("page")
	require.NoError(t, err)
	for _, entry := range entries {
		b, err := files.ReadFile("page/" + entry.Name())
		require.NoError(t, err)
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "<script>", "style=\"", "onclick=", "https://"} {
			assert.NotContains(t, string(b), bad, entry.Name())
		}
	}
}
