//! Flags of `pod k8s nad`.

use crate::args::values;
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use pod::k8s::nad::Allocator;
use pod::{Error, IfName, Image, Result, Route, VlanId};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Check, fix, apply and verify network attachment definitions
#[derive(Debug, Args)]
pub(crate) struct Nad {
    #[command(subcommand)]
    pub(crate) command: NadCommand,
}

/// What to do with definitions.
#[derive(Debug, Subcommand)]
pub(crate) enum NadCommand {
    #[command(alias = "list")]
    Ls(NadLs),
    Get(NadGet),
    Check(NadCheck),
    Create(NadCreate),
    Apply(NadApply),
    Diff(NadDiff),
    #[command(alias = "delete")]
    Rm(NadRm),
    Verify(NadVerify),
}

/// List the definitions of the namespace
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod k8s nad ls
  pod k8s nad ls -n shop -o wide")]
pub(crate) struct NadLs {}

/// Print definitions as manifests
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod k8s nad get red
  pod k8s nad get red | pod k8s nad check -")]
pub(crate) struct NadGet {
    /// The definitions
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Find what a definition says and no plugin does; needs no cluster
#[derive(Debug, Args)]
#[command(after_help = "\
A file is YAML or JSON: manifests, or one CNI configuration. Plugins drop every key that they
don't know, so a definition may ask for a VLAN and give none; each such part is a fault, with the
way out. The exit code is 1 when there is one. With --fix the definitions that do what was meant
are printed, and on stderr what was changed; the exit code is 1 when something is left for you to
decide.

Examples:
  pod k8s nad check red.yaml
  pod k8s nad check --fix red.yaml > fixed.yaml
  kubectl get net-attach-def -o yaml | pod k8s nad check -")]
pub(crate) struct NadCheck {
    /// The files; - is stdin
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// Print the definitions that do what was meant
    #[arg(long)]
    pub(crate) fix: bool,
}

/// Make a definition from its parts
#[derive(Debug, Args)]
#[command(after_help = "\
Addresses: per-pod (each pod names its own, as POD does), none, dhcp, host-local:SUBNET (each node
counts by itself), whereabouts:SUBNET (where it is installed). `pod net create` makes a network
whose addresses POD hands out.

Examples:
  pod k8s nad create red --master eth1 --vlan 100
  pod k8s nad create blue --kind vlan --master eth1 --vlan 200 --addresses whereabouts:10.2.0.0/24
  pod k8s nad create lab --kind bridge --bridge br1 --addresses host-local:10.3.0.0/24 --dry-run")]
pub(crate) struct NadCreate {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Which plugin makes the interface
    #[arg(long, value_name = "KIND", default_value = "macvlan")]
    pub(crate) kind: NadKind,

    /// The nodes' interface that frames leave by
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) master: Option<IfName>,

    /// The nodes' bridge, for the kind bridge
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) bridge: Option<IfName>,

    /// The VLAN id, 1 to 4094
    #[arg(long, value_name = "ID")]
    pub(crate) vlan: Option<VlanId>,

    /// How a macvlan (bridge, private, vepa, passthru) or ipvlan (l2, l3, l3s) passes frames
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<NadMode>,

    /// The device plugin's resource, for the kind sriov
    #[arg(long, value_name = "NAME")]
    pub(crate) resource: Option<String>,

    /// Where the pods' addresses come from
    #[arg(long, value_name = "HOW", default_value = "per-pod")]
    pub(crate) addresses: AddressesArg,

    /// The gateway, which is never handed out
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) gateway: Option<IpAddr>,

    /// A route through it
    #[arg(long, value_name = "DESTINATION[@NEXTHOP]", value_parser = values::route)]
    pub(crate) route: Vec<Route>,

    /// The MTU in bytes; that of the nodes' interface unless told
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,

    /// Print the manifest, and ask no cluster
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which plugin makes an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NadKind {
    /// An interface of its own over the nodes' interface, or over its VLAN
    Macvlan,
    /// The same with the nodes' MAC address
    Ipvlan,
    /// The tagged interface itself: one pod a node
    Vlan,
    /// A port of a bridge of the nodes
    Bridge,
    /// A virtual function of a network card
    Sriov,
}

/// How an interface passes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NadMode {
    /// macvlan: pods of a node see each other
    Bridge,
    /// macvlan: they don't
    Private,
    /// macvlan: by a switch outside
    Vepa,
    /// macvlan: one pod has the interface to itself
    Passthru,
    /// ipvlan: by MAC address
    L2,
    /// ipvlan: by route
    L3,
    /// ipvlan: by route, with connection tracking
    L3s,
}

/// Where addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressesArg(pub(crate) Allocator);

impl FromStr for AddressesArg {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let (how, subnet) = s.split_once(':').map_or((s, None), |(how, subnet)| (how, Some(subnet)));
        let subnet = subnet.map(values::subnet).transpose()?;
        Ok(Self(match (how, subnet) {
            ("per-pod", None) => Allocator::PerPod,
            ("none", None) => Allocator::None,
            ("dhcp", None) => Allocator::Dhcp,
            ("host-local", Some(subnet)) => Allocator::HostLocal { subnet, first: None, last: None, gateway: None },
            ("whereabouts", Some(range)) => Allocator::Whereabouts { range, exclude: Vec::new(), gateway: None },
            _ => {
                return Err(Error::invalid("that is no way to hand out addresses")
                    .with_context("given", format!("{s:?}"))
                    .with_hint("per-pod, none, dhcp, host-local:SUBNET or whereabouts:SUBNET"));
            }
        }))
    }
}

impl AddressesArg {
    /// The same with a gateway.
    pub(crate) fn with_gateway(self, ip: IpAddr) -> Result<Allocator> {
        let within = |net: &IpNet| net.contains(&ip);
        let bad = |why: &str| Err(Error::invalid(why.to_owned()).with_context("gateway", ip.to_string()));
        match self.0 {
            Allocator::HostLocal { subnet, first, last, .. } if within(&subnet) => {
                Ok(Allocator::HostLocal { subnet, first, last, gateway: Some(ip) })
            }
            Allocator::Whereabouts { range, exclude, .. } if within(&range) => {
                Ok(Allocator::Whereabouts { range, exclude, gateway: Some(ip) })
            }
            Allocator::HostLocal { .. } | Allocator::Whereabouts { .. } => bad("the gateway is not in the subnet"),
            _ => bad("a gateway goes with host-local or whereabouts"),
        }
    }
}

/// Make the cluster's definitions as a file has them
#[derive(Debug, Args)]
#[command(after_help = "\
A definition that would not do what it says is refused, with each fault; with --fix the one that
does what was meant is applied. Pods that run keep the interfaces that they have.

Examples:
  pod k8s nad apply red.yaml
  pod k8s nad apply --fix --dry-run red.yaml")]
pub(crate) struct NadApply {
    /// The files; - is stdin
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// Apply what was meant
    #[arg(long)]
    pub(crate) fix: bool,

    /// Ask the server whether it would take them, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Print where the cluster's definitions differ from a file's
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 1 when one differs or is not there.

Examples:
  pod k8s nad diff red.yaml
  pod k8s nad diff - -o json < red.yaml")]
pub(crate) struct NadDiff {
    /// The files; - is stdin
    #[arg(required = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

/// Remove definitions
#[derive(Debug, Args)]
#[command(after_help = "\
One that is not there is no error. One that pods use is: they keep their interface while they run,
and never start again.

Examples:
  pod k8s nad rm red
  pod k8s nad rm -f red blue")]
pub(crate) struct NadRm {
    /// The definitions
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Also those that pods use
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Prove that a definition works, from every node
#[derive(Debug, Args)]
#[command(after_help = "\
A probe pod is made on every node that takes pods; its interface is read from inside, and it asks
all the others by it. The pods are removed afterwards. The exit code is 1 unless every node's pod
is attached and reaches all others.

Examples:
  pod k8s nad verify red
  pod k8s nad verify red -n shop --image busybox:1.36 -o json")]
pub(crate) struct NadVerify {
    /// The definition
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The image of the probe pods, with a shell and ping; that of the address unless told
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<Image>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_hand_out_addresses() {
        for good in ["per-pod", "none", "dhcp", "host-local:10.1.0.0/24", "whereabouts:fd01::/64"] {
            assert!(good.parse::<AddressesArg>().is_ok(), "{good}");
        }
        for bad in ["", "static", "per-pod:10.1.0.0/24", "host-local", "whereabouts:10.1.0.0", "dhcp:"] {
            assert!(bad.parse::<AddressesArg>().is_err(), "{bad}");
        }
        let gateway = |s: &str, ip: &str| s.parse::<AddressesArg>().expect(s).with_gateway(ip.parse().expect("ip"));
        assert!(gateway("host-local:10.1.0.0/24", "10.1.0.1").is_ok());
        assert!(gateway("host-local:10.1.0.0/24", "10.2.0.1").is_err());
        assert!(gateway("per-pod", "10.1.0.1").is_err());
    }
}
