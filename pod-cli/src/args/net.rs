//! Flags of the commands on networks.

use super::values::{self, LabelArg, RuleArg};
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use pod::{IfName, MacAddr, NetworkName, Route, VlanId};
use std::net::IpAddr;
use std::time::Duration;

/// Make and wire networks
#[derive(Debug, Args)]
pub(crate) struct Net {
    #[command(subcommand)]
    pub(crate) command: NetCommand,
}

/// What to do with networks.
#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    Create(NetCreate),
    Ls(NetLs),
    Rm(NetRm),
    Attach(NetAttach),
    Detach(NetDetach),
    Isolate(NetIsolate),
    Policy(NetPolicy),
    Verify(NetVerify),
    Test(NetTest),
}

/// Make a network
#[derive(Debug, Args)]
#[command(after_help = "\
Twice the same is no error: the second finds it made.

Examples:
  pod net create red --vlan 100 --subnet 10.100.0.0/24
  pod net create lab --vlan 7 --subnet 10.7.0.0/16 --subnet fd07::/64 --uplink eth1
  pod net create plain")]
pub(crate) struct NetCreate {
    /// Its name
    #[arg(value_name = "NETWORK")]
    pub(crate) name: NetworkName,

    /// Its VLAN id, 1 to 4094; untagged when left out
    #[arg(long, value_name = "ID")]
    pub(crate) vlan: Option<VlanId>,

    /// A subnet to hand out addresses from
    #[arg(long, value_name = "ADDRESS/LENGTH", value_parser = values::subnet)]
    pub(crate) subnet: Vec<IpNet>,

    /// An address never to hand out
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) reserve: Vec<IpAddr>,

    /// The interface by which it leaves this machine, tagged
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) uplink: Option<IfName>,

    /// Its MTU in bytes
    #[arg(long, value_name = "BYTES", default_value_t = pod::DEFAULT_MTU)]
    pub(crate) mtu: u32,

    /// Cut its workloads off from each other
    #[arg(long)]
    pub(crate) isolated: bool,

    /// Set a label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<LabelArg>,
}

/// List networks
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod net ls
  pod net ls --attachments -o wide")]
pub(crate) struct NetLs {
    /// List the attachments of workloads instead
    #[arg(short, long)]
    pub(crate) attachments: bool,
}

/// Remove networks
#[derive(Debug, Args)]
#[command(after_help = "\
One that is not there is no error: it is removed already. One with workloads on it is.

Examples:
  pod net rm red blue")]
pub(crate) struct NetRm {
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<NetworkName>,
}

/// Attach a workload to a network, running or not
#[derive(Debug, Args)]
#[command(after_help = "\
The attachment is read back from inside the workload before it is printed.

Examples:
  pod net attach web red
  pod net attach web red --ip 10.100.0.11 --mac 02:00:00:00:00:11
  pod net attach router core --trunk 100,200 --interface trunk0")]
pub(crate) struct NetAttach {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// The network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: NetworkName,

    /// An address for it; the next free one of each subnet when there is none
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Vec<IpAddr>,

    /// Its MAC address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac: Option<MacAddr>,

    /// Its MTU in bytes; the network's unless told
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,

    /// The interface's name in the workload; the first free of eth0, eth1, ... unless told
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<IfName>,

    /// Pass these VLANs, tagged
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub(crate) trunk: Vec<VlanId>,

    /// A route through it
    #[arg(long, value_name = "DESTINATION[@NEXTHOP]", value_parser = values::route)]
    pub(crate) route: Vec<Route>,

    /// A DNS server for the workload
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<IpAddr>,
}

/// Detach a workload from a network
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod net detach web red")]
pub(crate) struct NetDetach {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// The network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: NetworkName,
}

/// Cut the workloads of a network off from each other, or join them again
#[derive(Debug, Args)]
#[command(after_help = "\
What is printed is what is known to act, and how it is known. The exit code is 0 only when it acts.

Examples:
  pod net isolate red
  pod net isolate red --off")]
pub(crate) struct NetIsolate {
    /// The network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: NetworkName,

    /// Join them again
    #[arg(long)]
    pub(crate) off: bool,
}

/// Replace the rules between the workloads of a network
#[derive(Debug, Args)]
#[command(after_help = "\
The first rule that matches counts. What is printed is what is known to act, and how it is known.
The exit code is 0 only when it acts.

Examples:
  pod net policy red --rule 'allow app=web -> app=db' --default deny
  pod net policy red --default allow")]
pub(crate) struct NetPolicy {
    /// The network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: NetworkName,

    /// A rule: 'allow FROM -> TO' or 'deny FROM -> TO', each side * or KEY=VALUE,...
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Vec<RuleArg>,

    /// What counts when no rule matches
    #[arg(long, value_name = "VERDICT")]
    pub(crate) default: Verdict,
}

/// Whether to let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verdict {
    /// Let pass
    Allow,
    /// Drop
    Deny,
}

/// Read networks back and compare them with what was asked for
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. The exit code is 1 when anything differs; each difference names its place.

Examples:
  pod net verify
  pod net verify red -o json")]
pub(crate) struct NetVerify {
    /// Only this network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: Option<NetworkName>,
}

/// Probe from inside a workload whether others answer
#[derive(Debug, Args)]
#[command(after_help = "\
A target is a workload, every address of which is probed, or an address. No tool is needed in the
workload. With --expect blocked, a workload counts as blocked only if it answers itself meanwhile.
The exit code is 1 when a target is not as expected.

Examples:
  pod net test a1 a2
  pod net test a1 10.100.0.12
  pod net test --expect blocked a1 b1 b2")]
pub(crate) struct NetTest {
    /// The workload to probe from
    #[arg(value_name = "FROM", add = super::complete::workloads())]
    pub(crate) from: String,

    /// What to probe
    #[arg(required = true, value_name = "TO", add = super::complete::workloads())]
    pub(crate) to: Vec<String>,

    /// What should be
    #[arg(long, value_name = "WHAT", default_value = "reached")]
    pub(crate) expect: Expectation,

    /// How long a target has to answer
    #[arg(long, value_name = "TIME", default_value = "1s", env = "POD_TIMEOUT", value_parser = values::duration)]
    pub(crate) timeout: Duration,
}

/// What a probe should find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expectation {
    /// Every target answers
    Reached,
    /// No target answers
    Blocked,
}
