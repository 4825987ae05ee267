//go:build !race

package conn_test

const race = false
