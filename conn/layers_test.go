package conn

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// layers says what each package may import of this module, and what of the
// standard library: pure packages name what they need, and sockets, clocks and
// locks are not among it. "*" is anything.
var layers = []struct {
	dir    string
	module []string
	std    []string
}{
	{"mask", nil, []string{"crypto/rand", "encoding/binary", "math/bits", "sync"}},
	{"frame", []string{"mask"}, []string{"encoding/binary", "errors", "fmt", "strconv", "strings", "unicode/utf8"}},
	{"frame/deflate", []string{"frame"}, []string{"bytes", "encoding/binary", "errors", "math/bits", "slices", "sync"}},
	{"handshake", []string{"frame"}, []string{
		"bytes", "crypto/fips140", "crypto/rand", "crypto/sha1", "crypto/subtle", "encoding/base64", "errors", "fmt",
		"io", "maps", "net/http", "net/url", "slices", "strconv", "strings", "unicode", "unicode/utf8",
	}},
	{"conn", []string{"mask", "frame", "frame/deflate", "handshake"}, []string{"*"}},
	{"conn/group", []string{"frame", "handshake", "conn"}, []string{"*"}},
}

// Imports point one way: mask <- frame <- conn -> handshake, and conn <-
// conn/group <- examples.
func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	for _, layer := range layers {
		seen[layer.dir] = true
		t.Run(layer.dir, func(t *testing.T) {
			require.DirExists(t, filepath.Join("..", layer.dir))
			for file, imports := range importsOf(t, layer.dir) {
				for _, path := range imports {
					if own, ok := strings.CutPrefix(path, "rfc6455/"); ok {
						require.Contains(t, layer.module, own, "%s imports %s", file, path)
						continue
					}
					first, _, _ := strings.Cut(path, "/")
					require.NotContains(t, first, ".", "%s imports %s, which is not in the standard library", file, path)
					if !slices.Contains(layer.std, "*") {
						require.Contains(t, layer.std, path, "%s imports %s", file, path)
					}
				}
			}
		})
	}
	// Nothing imports an example, and no package is forgotten here.
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		dir, err := filepath.Rel("..", path)
		require.NoError(t, err)
		dir = filepath.ToSlash(dir)
		if dir == "examples" || dir == "testdata" || strings.HasPrefix(d.Name(), ".") && path != ".." || d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if len(importsOf(t, dir)) > 0 {
			require.True(t, seen[dir], "package %s is in no layer", dir)
		}
		return nil
	})
	require.NoError(t, err)
}

// importsOf returns what each file of a directory imports, tests aside.
func importsOf(t *testing.T, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	require.NoError(t, err)
	imports := map[string][]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		imports[file] = []string{}
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			imports[file] = append(imports[file], path)
		}
	}
	return imports
}
