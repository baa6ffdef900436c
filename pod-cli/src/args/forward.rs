//! Flags of `pod forward`.

use clap::Args;
use pod::{Error, Result};
use std::net::IpAddr;
use std::str::FromStr;

/// Pass connections to ports of this machine on to ports of a workload
#[derive(Debug, Args)]
#[command(after_help = "\
Each connection is one to the workload's own loopback, as a program in it would make it. The
addresses that are listened at are printed first; -o name prints them alone, one a line. What goes
wrong with one connection is told and ends that one only. Ctrl-C ends the command.

Examples:
  pod forward web 8080:80
  pod forward web 80 443                 at free ports, which are printed
  pod forward k8s:shop/db 5432:5432
  pod forward --address 192.0.2.7 --allow-remote web 8080:80")]
pub(crate) struct Forward {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// The port here and the port in the workload; any free port here when left out, or 0
    #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
    pub(crate) ports: Vec<PortPair>,

    /// The address of this machine to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = super::values::address)]
    pub(crate) address: IpAddr,

    /// Listen at an address that other machines reach, too
    #[arg(long)]
    pub(crate) allow_remote: bool,
}

/// `[LOCAL:]REMOTE`, two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortPair {
    /// The port here; 0 is any that is free.
    pub(crate) local: u16,
    /// The port in the workload.
    pub(crate) remote: u16,
}

impl FromStr for PortPair {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("that is no pair of ports")
                .with_context("given", format!("{s:?}"))
                .with_hint("write LOCAL:REMOTE such as 8080:80, or REMOTE alone for any free port here")
        };
        let (local, remote) = s.split_once(':').unwrap_or(("", s));
        let local = if local.is_empty() { 0 } else { local.parse().map_err(|_| bad())? };
        let remote = remote.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        Ok(Self { local, remote })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_ports() {
        for (text, local, remote) in [("80", 0, 80), (":80", 0, 80), ("0:80", 0, 80), ("8080:80", 8080, 80)] {
            assert_eq!(text.parse::<PortPair>().ok(), Some(PortPair { local, remote }), "{text}");
        }
        for text in ["", ":", "80:", "80:0", "0", "65536", "1:65536", "a:80", "80:a", "1:2:3", "-1:80"] {
            assert!(text.parse::<PortPair>().is_err(), "{text}");
        }
    }
}
