//! What a backend can do.
//!
//! A [`Capabilities`] is one effective set, fixed after connect. Each [`Capability`] has a dotted
//! path (`exec.stdin`); in JSON and YAML the set is nested groups of booleans, every capability
//! present, so that a golden file shows what is missing as well as what is there.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! capabilities {
    ($($group:literal { $($variant:ident $name:literal $doc:literal;)* })*) => {
        /// One thing a backend may or may not be able to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Capability {
            $($(#[doc = $doc] $variant,)*)*
        }

        impl Capability {
            /// Every capability, in the order of the groups.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// The dotted path, such as `exec.stdin`.
            #[must_use]
            pub fn path(self) -> &'static str {
                match self {
                    $($(Self::$variant => concat!($group, ".", $name),)*)*
                }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self {
                    $($(Self::$variant => $doc,)*)*
                }
            }
        }
    };
}

capabilities! {
    "lifecycle" {
        Create "create" "Workloads can be created and removed.";
        StartStop "start_stop" "Workloads can be stopped and started again.";
        StartFailureKept "start_failure" "A start that failed leaves the shell's exit code, as if the command had run.";
        ExitStatusKept "exit_status" "The exit status of the command is kept until the workload is removed.";
        Logs "logs" "The command's output is kept and can be read.";
        LogsFollow "logs_follow" "Logs can be followed as they are written.";
        LogTimestamps "log_timestamps" "Log records carry the time at which they were written.";
        LogBytes "log_bytes" "Log records hold every byte; else a carriage return before a line's end is lost.";
        LogStreams "log_streams" "Log records tell stdout from stderr.";
        Events "events" "Changes of workloads can be watched.";
        AttachStdio "attach" "The command's own stdin, stdout and stderr can be attached to.";
        Tty "tty" "The command can have a terminal.";
        Env "env" "The command's environment can be set.";
        Cwd "cwd" "The command's working directory can be set.";
        User "user" "The command's user can be set.";
        Labels "labels" "Workloads carry labels, and lists filter by them.";
        KeepAlive "keep_alive" "A workload can outlive its command.";
        LimitCpu "limit_cpu" "CPU time can be limited.";
        LimitMemory "limit_memory" "Memory can be limited.";
        LimitPids "limit_pids" "The number of processes can be limited.";
        Mounts "mounts" "Host paths, volumes and tmpfs can be mounted in a workload.";
        Ports "ports" "A workload's ports can be published on its machine.";
        PortsOnNetworks "ports_on_networks" "A workload on a network can publish ports as well.";
        Restart "restart" "A command that ended can be started again by a policy.";
    }
    "exec" {
        Exec "run" "Programs can be run in a running workload.";
        ExecStdin "stdin" "The program's stdin can be written, and its end is seen.";
        ExecTty "tty" "The program can have a terminal.";
        ExecResize "resize" "That terminal can be resized.";
        ExecSignal "signal" "Signals can be sent to the program.";
        ExecKill "kill" "The program and all it started can be killed.";
        ExecUser "user" "The program's user can be chosen.";
        ExecCwd "cwd" "The program's working directory can be chosen.";
        ExecEnv "env" "The program's environment can be added to.";
        ExecSignalStatus "signal_status" "Death by a signal is told from an exit code of 128+n.";
        ExecBytes "bytes" "Arguments and environment may hold bytes that are no UTF-8.";
        ExecForward "forward" "TCP ports of the workload's own loopback can be connected to.";
    }
    "copy" {
        CopyIn "in" "Files and trees can be copied in.";
        CopyOut "out" "Files and trees can be copied out.";
        CopySymlinks "symlinks" "Symbolic links are kept.";
        CopyHardlinks "hardlinks" "Hard links within a tree are kept.";
        CopyModes "modes" "Permission bits are kept.";
        CopyTimes "times" "Modification times are kept, to the nanosecond.";
        CopySparse "sparse" "Holes stay holes.";
        CopyBytes "bytes" "File names may hold any byte.";
        CopyOwners "owners" "Owners are kept on request.";
        CopyAtomic "atomic" "A failed copy of a file leaves what was there before.";
        CopyHash "hash" "A copy can be checked by hash.";
        CopyResume "resume" "A copy that broke off can be taken up again, without what arrived whole.";
    }
    "network" {
        Networks "networks" "Networks can be made, listed and removed.";
        VlanAccess "vlan_access" "A workload can be attached untagged to a network with a VLAN id.";
        VlanTrunk "vlan_trunk" "A workload can be attached to several VLANs, tagged.";
        Uplink "uplink" "A network can leave the host, tagged with its VLAN id, by an uplink.";
        FixedIp "fixed_ip" "An attachment's addresses can be chosen.";
        FixedMac "fixed_mac" "An attachment's MAC address can be chosen.";
        Mtu "mtu" "A network's MTU can be chosen.";
        AttachmentMtu "attachment_mtu" "An attachment's MTU can differ from its network's.";
        InterfaceName "interface_name" "An attachment's interface can be named.";
        Routes "routes" "Routes can be given with an attachment.";
        Dns "dns" "DNS servers can be given with an attachment.";
        Ipv6 "ipv6" "Networks can have IPv6 subnets.";
        Unaddressed "unaddressed" "Networks can have no subnet.";
        OverlappingSubnets "overlapping_subnets" "Two networks can have the same subnet.";
        HotAttach "hot_attach" "A running workload can be attached and detached.";
        Plan "plan" "A change can be planned, printed and applied as one, or rolled back.";
        Isolate "isolate" "The workloads of a network can be cut off from each other.";
        Policy "policy" "Allow and deny rules between workloads can be applied.";
        Probe "probe" "Reach can be probed from inside a workload without a tool in it.";
        Verify "verify" "Networks and attachments are read back and compared.";
    }
}

impl Capability {
    /// What an error says of a backend without it: no sentence, as all errors.
    pub(crate) fn lacking(self) -> String {
        let meaning = self.describe().trim_end_matches('.');
        let mut letters = meaning.chars();
        // A word in capitals, such as DNS, stays one.
        let capitals = meaning.chars().take(2).all(char::is_uppercase);
        let meaning = match letters.next() {
            Some(first) if !capitals => first.to_lowercase().chain(letters).collect(),
            _ => meaning.to_owned(),
        };
        format!("this backend lacks {self}: {meaning}")
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// The set of capabilities a backend has.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u128);

const _: () = assert!(Capability::ALL.len() <= 128);

impl Capabilities {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Every capability there is.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.iter().copied().collect()
    }

    /// Whether the set holds `capability`.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u32) != 0
    }

    /// The set with `capability` added.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | (1 << capability as u32))
    }

    /// The set with `capability` taken out.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u32))
    }

    /// The capabilities in the set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |c| self.has(*c))
    }

    /// The set as group → name → whether it is there, every capability present.
    #[must_use]
    pub fn groups(self) -> BTreeMap<&'static str, BTreeMap<&'static str, bool>> {
        let mut groups: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for c in Capability::ALL {
            if let Some((group, name)) = c.path().split_once('.') {
                groups.entry(group).or_default().insert(name, self.has(*c));
            }
        }
        groups
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::none(), Self::with)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::path)).finish()
    }
}

impl serde::Serialize for Capabilities {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.groups().serialize(s)
    }
}

/// A request that knows what it needs of a backend.
pub trait Requires {
    /// The capabilities without which the request can't be carried out as it stands.
    fn requires(&self) -> Vec<Capability>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = Capabilities::none().with(Capability::ExecTty).with(Capability::Verify);
        assert!(set.has(Capability::ExecTty) && !set.has(Capability::ExecStdin));
        assert_eq!(set.iter().count(), 2);
        assert_eq!(Capabilities::all().iter().count(), Capability::ALL.len());
        assert!(!set.without(Capability::ExecTty).has(Capability::ExecTty));
    }

    #[test]
    fn every_path_is_unique_and_grouped() {
        let paths: std::collections::BTreeSet<_> = Capability::ALL.iter().map(|c| c.path()).collect();
        assert_eq!(paths.len(), Capability::ALL.len());
        let listed: usize = Capabilities::none().groups().values().map(BTreeMap::len).sum();
        assert_eq!(listed, Capability::ALL.len());
    }
}
