//go:build !race

package frame

const race = false
