//go:build !race

package group

const race = false
