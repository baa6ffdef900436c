//go:build programs

// The program of Multus that a lab runs. Never compiled: it tells Go what go.mod is for.
package programs

import _ "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus"
