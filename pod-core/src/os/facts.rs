//! What an operating system is: its name, kernel, tools, init system.

use std::collections::BTreeSet;
use std::fmt;

/// The tools a dialect is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Userland {
    /// GNU coreutils, or tools that take the same options.
    Gnu,
    /// BusyBox.
    BusyBox,
}

/// The program that installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PackageManager {
    /// apt-get and dpkg (Debian, Ubuntu).
    Apt,
    /// dnf and rpm (Fedora, RHEL 8 and later).
    Dnf,
    /// microdnf and rpm (small RHEL images).
    Microdnf,
    /// yum and rpm (RHEL 7).
    Yum,
    /// zypper and rpm (SUSE).
    Zypper,
    /// pacman (Arch).
    Pacman,
    /// apk (Alpine).
    Apk,
}

impl PackageManager {
    /// Each of them, with its program and the distributions (`ID` and `ID_LIKE` of os-release(5)) that
    /// have it as their own.
    pub(crate) const ALL: &'static [(Self, &'static str, &'static [&'static str])] = &[
        (Self::Apt, "apt-get", &["debian", "ubuntu"]),
        (Self::Dnf, "dnf", &["fedora", "rhel", "centos"]),
        (Self::Microdnf, "microdnf", &["fedora", "rhel", "centos"]),
        (Self::Yum, "yum", &["fedora", "rhel", "centos"]),
        (Self::Zypper, "zypper", &["suse", "opensuse"]),
        (Self::Pacman, "pacman", &["arch"]),
        (Self::Apk, "apk", &["alpine"]),
    ];

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        Self::ALL.iter().find(|(m, ..)| *m == self).map_or("", |(_, program, _)| program)
    }
}

impl fmt::Display for PackageManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.program())
    }
}

/// The init system that runs services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InitSystem {
    /// systemd is process 1 (sd_booted(3)).
    Systemd,
    /// OpenRC has booted the system.
    OpenRc,
    /// Process 1 is `init`, with scripts in `/etc/init.d`.
    SysV,
}

impl fmt::Display for InitSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "openrc",
            Self::SysV => "sysv",
        })
    }
}

/// Facts about the operating system in a workload, read once by [`Os::detect`](crate::os::Os::detect).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct OsFacts {
    /// The distribution's short name, such as `debian`; empty where os-release(5) is lacking.
    pub id: String,
    /// The distribution's name, such as `Debian GNU/Linux`; the kernel's name where os-release is
    /// lacking.
    pub name: String,
    /// Its version, such as `12`; empty where there is none (rolling distributions).
    pub version: String,
    /// Name and version for people.
    pub pretty_name: String,
    /// The kernel's name, such as `Linux`.
    pub kernel: String,
    /// The kernel's release, such as `6.12.1`.
    pub kernel_release: String,
    /// The machine's hardware name as uname(1) gives it, such as `x86_64` or `aarch64`.
    pub arch: String,
    /// The host name when the facts were read.
    pub hostname: String,
    /// GNU or BusyBox tools.
    pub userland: Userland,
    /// The package manager; `None` where there is none.
    pub package_manager: Option<PackageManager>,
    /// The init system; `None` where none runs, as in most containers.
    pub init: Option<InitSystem>,
    /// The kind of container this is in, such as `docker`, `podman` or `other`; `None` on a machine.
    pub container: Option<String>,
    /// The id of the user that programs run as.
    pub uid: u32,
    /// The optional tools that are there.
    #[serde(skip)]
    pub tools: BTreeSet<String>,
    /// Whether `ip` is iproute2's; BusyBox's has fewer options.
    #[serde(skip)]
    pub iproute2: bool,
}

impl OsFacts {
    /// Whether this tool is there; only the tools that some operation asks for are known.
    #[must_use]
    pub fn has(&self, tool: &str) -> bool {
        self.tools.contains(tool)
    }
}
