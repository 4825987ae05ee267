package conn_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadme builds the README's program as a reader would who pastes it into a
// module of their own.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, program, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found)
	program, _, found = strings.Cut(program, "```\n")
	require.True(t, found)

	repository, err := filepath.Abs("..")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o666))
	for _, args := range [][]string{
		{"mod", "init", "example.com/echo"},
		{"mod", "edit", "-require=rfc6455@v0.0.0", "-replace=rfc6455=" + repository},
		{"vet", "."},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %s: %s", strings.Join(args, " "), out)
	}
	formatted, err := exec.Command("gofmt", "-l", filepath.Join(dir, "main.go")).CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(formatted), "not as gofmt has it")
}
