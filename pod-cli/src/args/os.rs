//! Flags of the commands on the operating system inside a workload.

use super::values;
use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use pod::{IfName, Signal, VlanId};
use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

/// Ask and change the operating system inside a workload
#[derive(Debug, Args)]
pub(crate) struct Os {
    #[command(subcommand)]
    pub(crate) command: OsCommand,
}

/// What to do with the operating system.
#[derive(Debug, Subcommand)]
pub(crate) enum OsCommand {
    /// Print what it is: distribution, kernel, tools
    #[command(after_help = "Examples:\n  pod os info web\n  pod os info web -o json")]
    Info(OsOf),
    /// List its network interfaces, with VLAN ids and all addresses
    #[command(after_help = "Examples:\n  pod os interfaces web\n  pod os interfaces web -o json")]
    Interfaces(OsOf),
    /// List its routes
    #[command(after_help = "Examples:\n  pod os routes web")]
    Routes(OsOf),
    /// List its processes
    #[command(after_help = "Examples:\n  pod os processes web\n  pod os processes web -o wide")]
    Processes(OsOf),
    /// List its installed packages
    #[command(after_help = "Examples:\n  pod os packages web\n  pod os packages web -o name")]
    Packages(OsOf),
    /// Install packages by its own package manager
    #[command(
        after_help = "Those that are installed stay as they are.\n\nExamples:\n  pod os install web curl tcpdump"
    )]
    Install(OsPackages),
    /// Remove packages by its own package manager
    #[command(after_help = "Those that are not installed are no error.\n\nExamples:\n  pod os uninstall web tcpdump")]
    Uninstall(OsPackages),
    /// List its services
    #[command(after_help = "Examples:\n  pod os services vm1")]
    Services(OsOf),
    /// Print a service, or start, stop, restart, enable or disable it
    #[command(after_help = "Examples:\n  pod os service vm1 sshd\n  pod os service vm1 sshd restart")]
    Service(OsService),
    /// List its users
    #[command(after_help = "Examples:\n  pod os users web")]
    Users(OsOf),
    /// Make a user
    #[command(after_help = "\
Examples:
  pod os adduser web alice --make-home --groups adm,video
  pod os adduser web alice --password-stdin < password.txt")]
    Adduser(OsAdduser),
    /// Set a user's password, which is read from stdin
    #[command(after_help = "Examples:\n  pod os passwd web alice < password.txt")]
    Passwd(OsUser),
    /// Remove a user
    #[command(after_help = "One that is not there is no error.\n\nExamples:\n  pod os deluser web alice --home")]
    Deluser(OsDeluser),
    /// Print its host name, or set it
    #[command(after_help = "Examples:\n  pod os hostname vm1\n  pod os hostname vm1 db.example")]
    Hostname(OsHostname),
    /// Configure a network interface: VLAN, addresses, gateways, names
    #[command(after_help = "\
What was done is read back; on an error, what stood before is put back.

Examples:
  pod os network vm1 eth0 --address 10.1.0.5/24 --gateway 10.1.0.1 --dns 10.1.0.1
  pod os network vm1 eth0.100 --vlan eth0:100 --address 10.100.0.5/24 --persist")]
    Network(OsNetwork),
    /// Restart the service that configures its network
    #[command(after_help = "Examples:\n  pod os restart-network vm1")]
    RestartNetwork(OsOf),
    /// Reboot it, and wait until it answers again
    #[command(after_help = "Examples:\n  pod os reboot vm1\n  pod os reboot vm1 --timeout 10m")]
    Reboot(OsPower),
    /// Shut it down, and wait until it answers no more
    #[command(after_help = "Examples:\n  pod os shutdown vm1")]
    Shutdown(OsPower),
    /// Send a signal to one of its processes
    #[command(after_help = "Examples:\n  pod os kill web 42\n  pod os kill web 42 -s HUP")]
    Kill(OsKill),
    /// List its file systems, and how full they are
    #[command(after_help = "Examples:\n  pod os disks web")]
    Disks(OsOf),
    /// Print its memory
    #[command(after_help = "Examples:\n  pod os memory web")]
    Memory(OsOf),
    /// Print its processors
    #[command(after_help = "Examples:\n  pod os cpu web")]
    Cpu(OsOf),
    /// List a directory
    #[command(after_help = "Examples:\n  pod os ls web /etc\n  pod os ls web /etc -o wide")]
    Ls(OsPath),
    /// Print a file
    #[command(after_help = "Examples:\n  pod os cat web /etc/hosts")]
    Cat(OsPath),
    /// Write our stdin to a file, all of it or nothing
    #[command(after_help = "Examples:\n  echo hello | pod os write web /srv/greeting")]
    Write(OsWrite),
    /// Make a directory
    #[command(after_help = "Examples:\n  pod os mkdir -p web /srv/a/b")]
    Mkdir(OsMkdir),
    /// Remove a file or directory
    #[command(after_help = "Examples:\n  pod os rm web /srv/greeting\n  pod os rm -r web /srv/a")]
    Rm(OsRm),
}

/// In which workload, and as whom.
#[derive(Debug, Args)]
pub(crate) struct OsOf {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// Run the programs that ask as this user
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

/// In which workload, and which of its paths.
#[derive(Debug, Args)]
pub(crate) struct OsPath {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The absolute path
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
}

/// Which process, and which signal.
#[derive(Debug, Args)]
pub(crate) struct OsKill {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The process's id, within the workload
    #[arg(value_name = "PID")]
    pub(crate) pid: u32,

    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    pub(crate) signal: Signal,
}

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct OsWrite {
    #[command(flatten)]
    pub(crate) at: OsPath,

    /// Its permission bits, in octal
    #[arg(short, long, value_name = "MODE", default_value = "644", value_parser = mode)]
    pub(crate) mode: u32,
}

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct OsMkdir {
    #[command(flatten)]
    pub(crate) at: OsPath,

    /// Make its parents as well
    #[arg(short, long)]
    pub(crate) parents: bool,
}

/// What to remove.
#[derive(Debug, Args)]
pub(crate) struct OsRm {
    #[command(flatten)]
    pub(crate) at: OsPath,

    /// Remove a directory with all that is in it
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

/// Which packages.
#[derive(Debug, Args)]
pub(crate) struct OsPackages {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The packages, as the package manager names them
    #[arg(required = true, value_name = "PACKAGE")]
    pub(crate) packages: Vec<String>,
}

/// Which service, and what to do with it.
#[derive(Debug, Args)]
pub(crate) struct OsService {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The service
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,

    /// What to do with it
    #[arg(value_name = "ACTION")]
    pub(crate) action: Option<ServiceVerb>,
}

/// What to do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceVerb {
    /// Start it
    Start,
    /// Stop it
    Stop,
    /// Stop it and start it
    Restart,
    /// Start it at every boot
    Enable,
    /// Don't start it at boot
    Disable,
}

/// Which user.
#[derive(Debug, Args)]
pub(crate) struct OsUser {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The user's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Which user to make.
#[derive(Debug, Args)]
pub(crate) struct OsAdduser {
    #[command(flatten)]
    pub(crate) user: OsUser,

    /// Its id; the next free one unless told
    #[arg(long, value_name = "ID")]
    pub(crate) uid: Option<u32>,

    /// Its first group; one of its own unless told
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,

    /// Its other groups
    #[arg(long, value_name = "GROUP,...", value_delimiter = ',')]
    pub(crate) groups: Vec<String>,

    /// Its shell
    #[arg(long, value_name = "PATH")]
    pub(crate) shell: Option<String>,

    /// Its home directory
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<String>,

    /// Make its home directory
    #[arg(long)]
    pub(crate) make_home: bool,

    /// Make a user for a service
    #[arg(long)]
    pub(crate) system: bool,

    /// Its full name
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,

    /// Read its password from stdin
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// Which user to remove.
#[derive(Debug, Args)]
pub(crate) struct OsDeluser {
    #[command(flatten)]
    pub(crate) user: OsUser,

    /// Remove its home directory as well
    #[arg(long)]
    pub(crate) home: bool,
}

/// Which host name.
#[derive(Debug, Args)]
pub(crate) struct OsHostname {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The new name
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// How an interface shall be.
#[derive(Debug, Args)]
pub(crate) struct OsNetwork {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The interface
    #[arg(value_name = "INTERFACE")]
    pub(crate) interface: IfName,

    /// Make it a VLAN's sub-interface, if it is not there
    #[arg(long, value_name = "PARENT:ID", value_parser = vlan)]
    pub(crate) vlan: Option<(IfName, VlanId)>,

    /// An address with its prefix length
    #[arg(long, value_name = "ADDRESS/LENGTH", value_parser = values::subnet)]
    pub(crate) address: Vec<IpNet>,

    /// Take away every other address
    #[arg(long)]
    pub(crate) exact: bool,

    /// A default gateway
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) gateway: Vec<IpAddr>,

    /// A DNS server
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) dns: Vec<IpAddr>,

    /// A domain to look names up in
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) search: Vec<String>,

    /// Its MTU in bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,

    /// Keep it so over a reboot
    #[arg(long)]
    pub(crate) persist: bool,
}

/// How long to wait.
#[derive(Debug, Args)]
pub(crate) struct OsPower {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "5m", env = "POD_TIMEOUT", value_parser = values::duration)]
    pub(crate) timeout: Duration,
}

fn vlan(s: &str) -> pod::Result<(IfName, VlanId)> {
    let (parent, id) = s.rsplit_once(':').ok_or_else(|| {
        pod::Error::invalid("a VLAN is PARENT:ID").with_context("given", format!("{s:?}")).with_hint("write eth0:100")
    })?;
    Ok((parent.parse()?, id.parse()?))
}

fn mode(s: &str) -> pod::Result<u32> {
    u32::from_str_radix(s, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(|| {
        pod::Error::invalid("that is no mode").with_context("given", format!("{s:?}")).with_hint("write 644 or 0755")
    })
}
