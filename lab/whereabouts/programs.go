//go:build programs

// The program of whereabouts that a lab runs. Never compiled: it tells Go what go.mod is for.
package programs

import _ "github.com/k8snetworkplumbingwg/whereabouts/cmd"
